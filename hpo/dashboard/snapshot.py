"""A consistent copy of a store, so that visitors of a read-only dashboard cannot change the store itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy
from optuna.storages import RDBStorage

from hpo.errors import StoreError
from hpo.paths import copy_files
from hpo.store.sqlite_access import connect_read_only
from hpo.store.storage import artifact_folder, missing_store_error, open_storage, sqlite_file, store_exists
from hpo.study.spec import StudySpec
from hpo.study.storage_url import StorageUrl

ROWS_PER_BATCH = 1000
_VERSION_TABLES = {"alembic_version", "version_info"}  # a new store has filled them already


def copy_store(url: str, spec: StudySpec | None, folder: Path) -> str:
    """Copy a store and its artifacts, as of now, into an empty folder, and return the URL of the copy.

    Raises StoreError if there is no store, or if it is no database.
    """
    file, copy = sqlite_file(url), folder / "store.db"
    if not store_exists(url):
        raise missing_store_error(file)
    if file:
        _copy_sqlite(file, copy)
    else:
        _copy_tables(url, StorageUrl.of_file(copy).connection)
    artifacts = served_artifact_folder(url, spec)
    if artifacts and artifacts.is_dir():
        copy_files(artifacts, copy.with_suffix(".artifacts"))
    return StorageUrl.of_file(copy).connection


def served_artifact_folder(url: str, spec: StudySpec | None) -> Path | None:
    """Return the folder of a store's artifacts; None for a database server without a study file, which names it."""
    if spec is None and sqlite_file(url) is None:
        return None
    return artifact_folder(url, spec.file.parent if spec else Path())


def _copy_sqlite(file: Path, copy: Path) -> None:
    """Copy an SQLite database as of one moment, even if other processes write to it."""
    try:
        with connect_read_only(file) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{file}: {error}") from None


def _copy_tables(source_url: str, target_url: str) -> None:
    """Copy every row of a database server's store as of one moment.

    Ids stay the same, because notes and files refer to trials by id; `optuna.copy_study` would assign new ones.
    """
    source, target = open_storage(source_url, create=False), open_storage(target_url)
    if not isinstance(source, RDBStorage) or not isinstance(target, RDBStorage):
        raise StoreError("--read-only cannot copy this kind of store; it copies SQLite, PostgreSQL and MySQL")
    isolation = "REPEATABLE READ"  # one snapshot for all tables
    with (
        source.engine.connect().execution_options(isolation_level=isolation) as reader,
        target.engine.begin() as writer,
    ):
        source_tables, target_tables = sqlalchemy.MetaData(), sqlalchemy.MetaData()
        target_tables.reflect(writer)
        source_tables.reflect(reader, only=lambda name, _: name in target_tables.tables)
        for table in target_tables.sorted_tables:
            if table.name in _VERSION_TABLES:
                continue
            rows = reader.execute(source_tables.tables[table.name].select()).mappings()
            for batch in rows.partitions(ROWS_PER_BATCH):
                writer.execute(table.insert(), [dict(row) for row in batch])
    source.engine.dispose()
    target.engine.dispose()
