"""Open a database as an Optuna storage such that many processes can use it at once."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import StoreError
from hpo.store.creation_lock import creation_lock
from hpo.store.optuna_internals import use_daemon_heartbeats
from hpo.store.outages import Outages, describe_driver_error
from hpo.store.sqlite_access import has_table, locate_readable
from hpo.study.storage_url import StorageUrl

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from hpo.store.claiming_storage import ClaimingStorage

HEARTBEAT_INTERVAL = 10  # seconds
GRACE_PERIOD = 60  # seconds without a heartbeat after which a trial is stale
# Seconds that SQLite itself waits for a lock. It is deaf to Ctrl-C meanwhile, so the rest of the time is waited by us.
BUSY_TIMEOUT = 5
CONNECT_TIMEOUT = 10  # seconds until a server that does not answer counts as away
_READ_ONLY_STATES = {"25006", "42501"}  # PostgreSQL: read-only transaction, insufficient privilege
_LAST_TABLE = "alembic_version"  # of those that Optuna creates
_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def _translated_errors(url: StorageUrl) -> Iterator[None]:
    """Raise errors of drivers and databases as StoreError, without the password."""
    import sqlalchemy.exc
    from optuna.exceptions import OptunaError

    try:
        yield
    except ImportError as error:
        raise StoreError(f"storage {url}: {error}; for PostgreSQL: pip install 'hpo[postgresql]'") from None
    except (sqlalchemy.exc.SQLAlchemyError, OptunaError, RuntimeError, ValueError, OSError) as error:
        raise StoreError(f"storage {url} cannot be opened: {describe_driver_error(error)}") from None


def database_has_table(url: StorageUrl, table: str) -> bool:
    """Whether a database has such a table. Opening it as a storage would create Optuna's. Raises StoreError."""
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    if url.file:
        return has_table(url.file, table)
    with _translated_errors(url):
        engine = sqlalchemy.create_engine(url.connection, poolclass=NullPool)
        return Outages(url).retry(lambda: sqlalchemy.inspect(engine).has_table(table))


def open_database(url: StorageUrl, outage_limit: float | None = None) -> BaseStorage:
    """Open a database for reading and writing, and create Optuna's tables if it does not have them. Raises StoreError.

    SQLite gets a write-ahead log, and every database gets heartbeats, by which the trials of dead workers are
    recognized. Operations wait while the store is away, for `outage_limit` seconds or five minutes.
    """
    outages = Outages(url, outage_limit)
    with _translated_errors(url):
        if database_has_table(url, _LAST_TABLE):
            return outages.retry(lambda: _connect(url, outages))
        with creation_lock(url):
            return outages.retry(lambda: _connect(url, outages))


def _connect(url: StorageUrl, outages: Outages) -> BaseStorage:
    import sqlalchemy.event
    from sqlalchemy.pool import NullPool

    is_sqlite = url.file is not None
    # A server has few connections, and trials take minutes: none is held between two operations.
    options: dict[str, Any] = {"connect_args": {"timeout": BUSY_TIMEOUT}} if is_sqlite else {"poolclass": NullPool}
    if url.connection.startswith("postgresql") and "connect_timeout" not in url.connection:
        options["connect_args"] = {"connect_timeout": CONNECT_TIMEOUT}
    storage = _create_storage(url.connection, outages, options)
    if is_sqlite:
        sqlalchemy.event.listen(storage.engine, "connect", _use_wal)
        storage.engine.dispose()  # connections that created the tables were opened before the listener was added
    outages.mark_open()
    return storage


def is_read_only_error(error: BaseException | None) -> bool:
    """Whether writing failed because the database, or this user's right to it, is for reading only."""
    while error is not None:
        original = getattr(error, "orig", None)
        if isinstance(original, sqlite3.OperationalError) and original.sqlite_errorname.startswith("SQLITE_READONLY"):
            return True
        if getattr(original, "sqlstate", None) in _READ_ONLY_STATES:
            return True
        error = error.__cause__ or error.__context__
    return False


def open_for_reading(file: Path) -> BaseStorage:
    """Open an SQLite store that cannot be written. Raises StoreError."""
    from sqlalchemy import URL

    with _translated_errors(StorageUrl.of_file(file)):
        database = locate_readable(file)
        _logger.info("opening %s for reading, because it cannot be written", file)
        url = URL.create("sqlite", database=database.file.as_uri(), query={**database.options, "uri": "true"})
        outages = Outages(StorageUrl.of_file(file))
        storage = _create_storage(url.render_as_string(), outages, {}, skip_table_creation=True)
        weakref.finalize(storage, database.remove_copy)
        return storage


def _create_storage(
    connection: str, outages: Outages, engine_options: dict[str, Any], **options: Any
) -> ClaimingStorage:
    from optuna.exceptions import ExperimentalWarning

    from hpo.store.claiming_storage import ClaimingStorage

    use_daemon_heartbeats()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return ClaimingStorage(
            connection,
            outages,
            engine_kwargs=engine_options,
            heartbeat_interval=HEARTBEAT_INTERVAL,
            grace_period=GRACE_PERIOD,
            **options,
        )


def _use_wal(connection: Any, _record: Any) -> None:
    """Let readers and one writer work at once, and wait for a lock instead of failing."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()
