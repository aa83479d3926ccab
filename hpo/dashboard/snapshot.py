"""A consistent copy of a store for others to look at, so that nothing that they do reaches the store itself."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy
from optuna.storages import RDBStorage

from hpo.errors import StoreError
from hpo.store.storage import artifact_folder, open_storage, sqlite_file, store_exists
from hpo.study.spec import StudySpec

COPY_ROWS = 1000  # that are copied at once
_KEPT = {"alembic_version", "version_info"}  # what a new store says of itself already


def copy_store(url: str, spec: StudySpec | None, folder: Path) -> str:
    """The URL of a copy of a store as of now, its files beside it, in an empty folder; the store is only read.

    Raises StoreError: no store there, or one that is no database.
    """
    file, copy = sqlite_file(url), folder / "store.db"
    if not store_exists(url):
        raise StoreError(f"no store at {file}; `hpo search STUDY` makes it")
    if file:
        _copy_file(file, copy)
    else:
        _copy_tables(url, f"sqlite:///{copy}")
    files = served_artifact_folder(url, spec)
    if files and files.is_dir():
        shutil.copytree(files, copy.with_suffix(".artifacts"))
    return f"sqlite:///{copy}"


def served_artifact_folder(url: str, spec: StudySpec | None) -> Path | None:
    """Where a store's artifacts lie; None for a server without a study file."""
    if spec is None and sqlite_file(url) is None:
        return None
    return artifact_folder(url, spec.file.parent if spec else Path())


def _copy_file(file: Path, copy: Path) -> None:
    """An SQLite database as of one moment, whoever writes to it meanwhile."""
    try:
        with (
            closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as there,
            closing(sqlite3.connect(copy)) as here,
        ):
            there.backup(here)
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{file}: {error}") from None


def _copy_tables(url: str, copy: str) -> None:
    """Every row of a server's store, as of one moment, with the ids that notes and files go by."""
    there, here = open_storage(url, create=False), open_storage(copy)
    if not isinstance(there, RDBStorage) or not isinstance(here, RDBStorage):
        raise StoreError("--read-only copies SQLite, PostgreSQL and MySQL; another kind of store it cannot")
    level = "REPEATABLE READ"  # one snapshot for all tables
    with there.engine.connect().execution_options(isolation_level=level) as reader, here.engine.begin() as writer:
        source, target = sqlalchemy.MetaData(), sqlalchemy.MetaData()
        target.reflect(writer)
        source.reflect(reader, only=lambda name, _: name in target.tables)
        for table in target.sorted_tables:
            if table.name in _KEPT:
                continue
            for rows in reader.execute(source.tables[table.name].select()).mappings().partitions(COPY_ROWS):
                writer.execute(table.insert(), [dict(row) for row in rows])
    there.engine.dispose()
    here.engine.dispose()
