"""Wait while a store is away: a server that restarts or has no connection left, a locked file, a full disk.

Operations are repeated until they succeed. What does not pass by waiting becomes one line: a damaged database, or a
store or study that was deleted while it was in use.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hpo.errors import HpoError, StoreError, StudyError, first_line, list_causes
from hpo.store.optuna_internals import uncached
from hpo.study.storage_url import StorageUrl

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

OUTAGE_LIMIT = 300.0  # seconds for which operations wait
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between two attempts; each pause is twice the one before
_NOTICE_AFTER = 1.0  # seconds; a shorter wait is not worth a line
_LOCKED, _FULL = "is locked by another program", "cannot be written: no space is left on its disk"
_LOST = "cannot be reached"
# SQLite's name of an error, without the part that says where it happened -> what passes by waiting.
_SQLITE_OUTAGES = {
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_LOCKED": _LOCKED,
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": "cannot be read or written: its disk is full or has failed",
}
_SQLITE_DAMAGES = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_CANTOPEN"}  # ERROR: a missing table
# The first characters of a code: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL_OUTAGES = {
    "08": _LOST,
    "53100": _FULL,
    "53": "has no connection or memory left",
    "57P": "is restarting",
    "40": "is busy",
    "55P03": _LOCKED,
}
_MYSQL_OUTAGES = {1040, 1053, 1205, 1213, 2002, 2003, 2006, 2013}
# A server that says so exists, so waiting makes sense even if it was never reached before.
_SERVER_IS_BUSY = re.compile(
    r"too many (clients|connections)|connection slots|starting up|shutting down|in recovery mode", re.I
)
_DELETED = "Record does not exist."  # what Optuna's KeyError says of a study or trial that is gone
_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class DamagedError(Exception):
    """What is stored cannot be read; the text says what."""


class DeletedError(StudyError, KeyError):
    """A study or trial that was deleted while it was in use. A KeyError too, because Optuna promises one."""

    __str__ = Exception.__str__  # KeyError would quote the message


class Outages:
    """Repeats the operations on one store while it is away, announces that once, and gives up after a while."""

    def __init__(self, url: StorageUrl, limit: float | None = None) -> None:
        self.url = url
        self.limit = OUTAGE_LIMIT if limit is None else limit
        self.notice: Callable[[str], None] = _logger.warning
        self.check_stop: Callable[[], None] = lambda: None  # raises KeyboardInterrupt if the user wants to stop
        self.was_open = False  # before, a server that cannot be reached is a wrong URL
        self._inode: tuple[int, int] | None = None
        self._has_given_up = False  # do not wait again for each of the operations that follow

    def mark_open(self) -> None:
        """Remember that the store was opened: from now on, an outage passes, and another file is not this store."""
        self.was_open = True
        if self.url.file:
            self._inode = _read_inode(self.url.file)

    def retry(self, operation: Callable[[], _Result]) -> _Result:
        """Return the result of an operation, which is repeated while the store is away.

        An operation whose connection was lost may have taken effect, so it must be one that can be repeated. Raises
        StoreError if the store is damaged, was deleted, or is away for too long, and DeletedError.
        """
        started, pause, is_announced = time.monotonic(), FIRST_PAUSE, False
        while True:
            self._check_file()
            try:
                result = operation()
            except Exception as error:
                reason = self.describe_outage(error)
                if reason is None:
                    translated = self._translate(error)
                    if translated is None:
                        raise
                    raise translated from error
                waited = time.monotonic() - started
                if self._has_given_up or waited >= self.limit:
                    self._has_given_up = True
                    raise StoreError(
                        f"storage {self.url} {reason}; run the same command again once it is back: "
                        "what was finished is stored"
                    ) from error
            else:
                if is_announced:
                    self.notice(f"storage {self.url} is back after {time.monotonic() - started:.0f} s")
                self._has_given_up = False
                return result
            if not is_announced and waited >= _NOTICE_AFTER:
                is_announced = True
                self.notice(f"storage {self.url} {reason}; waiting for up to {self.limit:.0f} s")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self.check_stop()

    def describe_outage(self, error: BaseException) -> str | None:
        """Return what is wrong with the store if it passes by waiting, else None."""
        original = find_driver_error(error)
        if original is None:
            return None
        if isinstance(original, sqlite3.Error):
            return _SQLITE_OUTAGES.get(sqlite_error_name(original))
        if self.was_open and _is_lost_connection(original):
            return _LOST
        state = getattr(original, "sqlstate", None)
        if state is None and (match := _SERVER_IS_BUSY.search(str(original))):
            return f"says: {match[0]}"
        matches = (reason for beginning, reason in _POSTGRESQL_OUTAGES.items() if str(state).startswith(beginning))
        return next(matches, None)

    def _check_file(self) -> None:
        """Raise StoreError if the file of an open store is gone. SQLite would go on writing to the deleted file."""
        if self._inode is not None and self.url.file and _read_inode(self.url.file) != self._inode:
            raise StoreError(
                f"{self.url.file}: the store was deleted or replaced while it was in use, so nothing more is written; "
                "restore it, then run the same command again"
            )

    def _translate(self, error: Exception) -> HpoError | None:
        """Return the error to raise in place of one that does not pass by waiting, or None to raise it as it is."""
        if isinstance(error, KeyError) and error.args[:1] == (_DELETED,):
            return DeletedError(
                f"storage {self.url}: the study or a trial of it was deleted while it was in use; "
                "`hpo search STUDY` starts a new one"
            )
        if isinstance(error, json.JSONDecodeError):
            return damaged_store_error(self.url, "an attribute of a study is not JSON")
        if isinstance(error, DamagedError):
            return damaged_store_error(self.url, str(error))
        original = find_driver_error(error)
        if isinstance(original, sqlite3.Error) and sqlite_error_name(original) in _SQLITE_DAMAGES:
            return damaged_store_error(self.url, str(original))
        return None


def damaged_store_error(place: object, problem: str) -> StoreError:
    """Return the error for a store whose content is damaged."""
    location = f"storage {place}" if isinstance(place, StorageUrl) else str(place)
    return StoreError(
        f"{location}: the store is damaged: {problem}; `hpo doctor` lists what is damaged; restore it from a backup"
    )


def find_driver_error(error: BaseException) -> Any:
    """Return the error of the database's driver that has led to an error of SQLAlchemy or Optuna, or None."""
    for cause in list_causes(error):
        original = getattr(cause, "orig", None) or (cause if isinstance(cause, sqlite3.Error) else None)
        if original is not None:
            return original
    return None


def describe_driver_error(error: BaseException) -> str:
    """Return the first line of what the database's driver says, or of the error itself if it comes from elsewhere."""
    return first_line(getattr(error, "orig", None) or error)


@contextmanager
def announced_outages(
    storage: BaseStorage, notice: Callable[[str], None] | None = None, check_stop: Callable[[], None] | None = None
) -> Iterator[None]:
    """Announce the outages of a storage to `notice` while the block runs; `check_stop` ends a wait by raising."""
    outages: Outages | None = getattr(uncached(storage), "outages", None)
    if outages is None:  # the storage of another program, passed from Python
        yield
        return
    before = outages.notice, outages.check_stop
    outages.notice, outages.check_stop = notice or before[0], check_stop or before[1]
    try:
        yield
    finally:
        outages.notice, outages.check_stop = before


def sqlite_error_name(error: sqlite3.Error) -> str:
    """Return the name of an error without its extension: SQLITE_IOERR for SQLITE_IOERR_WRITE."""
    return "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])


def _is_lost_connection(error: Any) -> bool:
    """Whether a driver of a database server has lost the connection, or got none."""
    if error.args and error.args[0] in _MYSQL_OUTAGES:
        return True
    return getattr(error, "sqlstate", None) is None and type(error).__name__ in ("OperationalError", "InterfaceError")


def _read_inode(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
