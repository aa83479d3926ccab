"""A store whose operations fail, or whose answers are lost, as the scenario says; the code above it is the real one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import sqlalchemy.event

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


def open_faulty_storage(url: str, faults: StoreFaults, process: SimulatedProcess) -> Any:
    """Open a store as hpo does; from then on, its operations fail and its process may die at any of them."""
    storage: Any = open_storage(url)
    kernel, dialect = faults.kernel, storage.engine.dialect
    execute, commit = dialect.do_execute, dialect.do_commit

    def check_alive() -> None:
        if not process.is_alive:
            raise Unwound

    def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        check_alive()
        faults.draw(statement.split(maxsplit=1)[0], LockedError)
        execute(cursor, statement, parameters, context)

    def do_commit(connection: Any) -> None:
        is_write = connection.in_transaction
        if is_write:
            kernel.point("commit")
            faults.draw("commit", LostAnswerError)
        check_alive()
        commit(connection)
        if is_write:
            kernel.point("committed")
            faults.draw("answer to a commit", LostAnswerError)

    def do_rollback(connection: Any) -> None:
        check_alive()
        connection.rollback()

    dialect.do_execute, dialect.do_commit, dialect.do_rollback = do_execute, do_commit, do_rollback
    storage.engine.dispose()
    sqlalchemy.event.listen(storage.engine, "connect", _note_connection(kernel, process))
    return storage


def _note_connection(kernel: Kernel, process: SimulatedProcess) -> Callable[[Any, Any], None]:
    def note(connection: Any, _record: Any) -> None:
        connection.create_function("current_timestamp", 0, lambda: server_time(kernel))
        connection.execute("PRAGMA synchronous = OFF")
        process.connections.append(connection)

    return note
