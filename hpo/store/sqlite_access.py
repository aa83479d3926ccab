"""How SQLite stores are opened for reading, also in a folder where nothing can be written.

A store has a write-ahead log. While a process uses it, SQLite keeps an index of the log in a second file, and creates
both files even for readers. In a folder that cannot be written, plain opening fails with "unable to open database
file", or with "attempt to write a readonly database": https://www.sqlite.org/wal.html#read_only_databases
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import StoreError
from hpo.store.outages import damaged_store_error, sqlite_error_name

LOCK_TIMEOUT = 60  # seconds to wait for SQLite's lock
_LOG_SUFFIXES = ("-wal", "-journal")  # of the files that hold what is not in the database yet, or not undone yet
_HEADER_BYTES, _LOG_VERSION_BYTE = 100, 18  # https://www.sqlite.org/fileformat.html


@dataclass(frozen=True)
class ReadableDatabase:
    """A database as it can be read: the store itself with options of SQLite, or a temporary copy."""

    file: Path
    options: Mapping[str, str]
    temporary_folder: Path | None = None  # of a copy

    @property
    def uri(self) -> str:
        """The URI that `sqlite3.connect(..., uri=True)` takes."""
        return f"{self.file.as_uri()}?{'&'.join(f'{name}={value}' for name, value in self.options.items())}"

    def remove_copy(self) -> None:
        """Delete the copy, if it is one."""
        if self.temporary_folder:
            shutil.rmtree(self.temporary_folder, ignore_errors=True)


def is_writable(file: Path) -> bool:
    """Whether this process can write a database, or create it: SQLite also writes files next to it."""
    return os.access(file.parent, os.W_OK | os.X_OK) and (not file.exists() or os.access(file, os.W_OK))


def check_writable(file: Path) -> None:
    """Raise StoreError if a store exists, or its folder, but cannot be written."""
    if file.parent.is_dir() and not is_writable(file):
        raise StoreError(
            f"{file}: the store cannot be written; make the file and its folder writable, or work on a copy"
        )


@contextmanager
def connect_read_only(file: Path) -> Iterator[sqlite3.Connection]:
    """Connect to a store for reading. Raises sqlite3.Error."""
    database = locate_readable(file)
    try:
        connect = sqlite3.connect(database.uri, uri=True, timeout=LOCK_TIMEOUT, isolation_level=None)
        with closing(connect) as connection:
            yield connection
    finally:
        database.remove_copy()


def locate_readable(file: Path) -> ReadableDatabase:
    """Return a store in the way in which it can be read, without writing next to it if that is not possible.

    The caller removes the copy, if it is one, after use.
    """
    file = file.absolute()
    plain = ReadableDatabase(file, {"mode": "ro"})
    # `immutable` needs neither a log nor locks. It is right if no process has the store open, or if there is no log.
    immutable = ReadableDatabase(file, {"mode": "ro", "immutable": "1"})
    if is_writable(file):
        return plain
    if _is_closed(file):
        return immutable
    if _can_be_read(plain):
        return plain
    if not any(_size(file, suffix) for suffix in _LOG_SUFFIXES):
        return immutable
    # The last process that wrote it was killed, so that part of the data are in the log only. In a writable folder
    # SQLite moves them into the database.
    folder = Path(tempfile.mkdtemp(prefix="hpo-store-"))
    for suffix in ("", *_LOG_SUFFIXES):
        source = file.with_name(file.name + suffix)
        if source.exists():
            shutil.copyfile(source, folder / source.name)
    copy = ReadableDatabase(folder / file.name, {"mode": "ro"}, folder)
    with closing(sqlite3.connect(copy.file)) as writer:
        writer.execute("SELECT 1 FROM sqlite_master").fetchone()  # applies the log, or rolls an unfinished change back
    return copy


def has_table(file: Path, table: str) -> bool:
    """Whether a file is a database with such a table. Raises StoreError if it is a file of another kind."""
    if not file.exists():
        return False
    try:
        with connect_read_only(file) as reader:
            return bool(reader.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone())
    except (sqlite3.DatabaseError, OSError) as error:
        if isinstance(error, sqlite3.Error) and sqlite_error_name(error) == "SQLITE_CORRUPT":
            raise damaged_store_error(file, str(error)) from None
        raise StoreError(f"{file}: {error}") from None


def _is_closed(file: Path) -> bool:
    """Whether a database with a write-ahead log was closed by all processes that had it open."""
    with file.open("rb") as content:
        header = content.read(_HEADER_BYTES)
    has_log = header[_LOG_VERSION_BYTE : _LOG_VERSION_BYTE + 1] == b"\2"
    return has_log and not any(file.with_name(file.name + suffix).exists() for suffix in ("-shm", *_LOG_SUFFIXES))


def _can_be_read(database: ReadableDatabase) -> bool:
    try:
        with closing(sqlite3.connect(database.uri, uri=True, timeout=LOCK_TIMEOUT)) as reader:
            reader.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        return False
    return True


def _size(file: Path, suffix: str) -> int:
    """Return the size of a file next to a database, 0 if there is none."""
    neighbor = file.with_name(file.name + suffix)
    return neighbor.stat().st_size if neighbor.exists() else 0
