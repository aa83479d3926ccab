"""The lock under which the tables of a store, and studies in it, are created.

Optuna creates tables and studies without one. Of several searches that start on a new store at the same moment, all but
one would fail: `UNIQUE constraint failed: alembic_version`, `pg_type_typname_nsp_index`, DuplicatedStudyError.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hpo.atomic import exclusive_lock
from hpo.store.outages import Outages
from hpo.study.storage_url import StorageUrl

LOCK_TIMEOUT = 120  # seconds; creating takes less than one
_LOCK_KEY = 0x68706F  # "hpo"; locks of other programs have other numbers
# Both locks belong to the connection, so they end with it, also if the process is killed.
_LOCK_STATEMENTS = {
    "postgresql": f"SELECT pg_advisory_lock({_LOCK_KEY})",
    "mysql": f"SELECT GET_LOCK('hpo', {LOCK_TIMEOUT})",
    "mariadb": f"SELECT GET_LOCK('hpo', {LOCK_TIMEOUT})",
}


@contextmanager
def creation_lock(url: StorageUrl) -> Iterator[None]:
    """Hold the lock of the store at `url`, and wait for it if another process has it."""
    if url.file is None:
        with _server_lock(url):
            yield
        return
    with exclusive_lock(url.file.parent, f"create {url.file.name}", LOCK_TIMEOUT):
        yield


@contextmanager
def _server_lock(url: StorageUrl) -> Iterator[None]:
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    engine = sqlalchemy.create_engine(url.connection, poolclass=NullPool)
    statement = _LOCK_STATEMENTS.get(engine.dialect.name)
    if statement is None:
        yield
        return
    outages = Outages(url)
    with outages.retry(engine.connect).execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sqlalchemy.text(statement))
        yield
