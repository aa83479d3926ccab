"""A store whose operations fail, or whose answers are lost, as the scenario says; the code above it is the real one."""

from __future__ import annotations

import sqlite3
from typing import Any
from unittest import mock

import sqlalchemy.event
from optuna.storages._rdb.storage import _VersionManager

from benchmarks.worker_simulation.environment import server_time
from benchmarks.worker_simulation.kernel import Kernel, SimulatedProcess, Unwound
from hpo.store.storage import open_storage


class LockedError(sqlite3.OperationalError):
    """The database is locked."""

    sqlite_errorname = "SQLITE_BUSY"


class LostAnswerError(sqlite3.OperationalError):
    """A commit may have happened or not."""

    sqlite_errorname = "SQLITE_IOERR_WRITE"


class StoreFaults:
    """Which operations of a store fail. `rate` is their share."""

    def __init__(self, kernel: Kernel, rate: float) -> None:
        self.kernel, self.rate = kernel, rate
        self.away_until = 0.0  # all operations fail until then

    def draw(self, name: str, error: type[Exception]) -> None:
        """Fail now and then."""
        if self.kernel.now < self.away_until:
            raise LockedError
        if self.rate and self.kernel.random.random() < self.rate:
            self.kernel.log(self.kernel.process, f"{name} fails: {error.__name__}")
            raise error


class FaultyDialect:
    """The operations of the database driver, as the simulated processes see them.

    SQLAlchemy compiles statements per dialect, which takes half the time of a search, so all storages share one.
    """

    def __init__(self, dialect: Any) -> None:
        self.faults: StoreFaults | None = None  # of the search that is simulated now
        self.dialect = dialect
        self.compiled: Any = {}
        self._execute, self._commit = dialect.do_execute, dialect.do_commit
        dialect.do_execute, dialect.do_commit, dialect.do_rollback = self.do_execute, self.do_commit, self.do_rollback

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Execute a statement."""
        if (faults := self._active()) is not None:
            faults.draw(statement.split(maxsplit=1)[0], LockedError)
        self._execute(cursor, statement, parameters, context)

    def do_commit(self, connection: Any) -> None:
        """Commit; the process may die before or after it, and the answer may be lost."""
        faults = self._active() if connection.in_transaction else None
        if faults is not None:
            faults.kernel.point("commit")
            faults.draw("commit", LostAnswerError)
        self._commit(connection)
        if faults is not None:
            faults.kernel.point("committed")
            faults.draw("answer to a commit", LostAnswerError)

    def do_rollback(self, connection: Any) -> None:
        """Roll back."""
        self._active()
        connection.rollback()

    def _active(self) -> StoreFaults | None:
        process = self.faults.kernel.process if self.faults else None
        if process is None:
            return None
        if not process.is_alive:
            raise Unwound
        return self.faults


class FaultyStores:
    """Opens the stores of simulated searches."""

    def __init__(self) -> None:
        self._shared: FaultyDialect | None = None

    def open(self, url: str, faults: StoreFaults, process: SimulatedProcess) -> Any:
        """Open a store as hpo does; from then on, its operations fail and its process may die at any of them."""
        with mock.patch.object(_VersionManager, "get_head_version", _head_version):
            storage: Any = open_storage(url)
        engine = storage.engine
        engine.dispose()
        if self._shared is None:
            self._shared = FaultyDialect(engine.dialect)
            self._shared.compiled = engine._compiled_cache
        self._shared.faults = faults
        engine.dialect = engine.pool._dialect = self._shared.dialect
        engine._compiled_cache = self._shared.compiled
        sqlalchemy.event.listen(engine, "connect", lambda connection, _: _note(faults.kernel, process, connection))
        return storage


_get_head_version = _VersionManager.get_head_version
_head_versions: list[str] = []


def _head_version(manager: Any) -> str:
    """Return the version of Optuna's tables, which takes as long to find as a trial."""
    if not _head_versions:
        _head_versions.append(_get_head_version(manager))
    return _head_versions[0]


def _note(kernel: Kernel, process: SimulatedProcess, connection: Any) -> None:
    connection.create_function("current_timestamp", 0, lambda: server_time(kernel))
    connection.execute("PRAGMA synchronous = OFF")
    process.connections.append(connection)
