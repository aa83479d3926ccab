"""Write files and folders completely or not at all: write under a temporary name, then rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


@contextmanager
def atomic_folder(folder: Path, may_replace: Callable[[], bool] = lambda: True) -> Iterator[Path]:
    """Yield a new folder to write to, which replaces `folder` when the block ends without an error.

    Several processes may write the same folder: the replacements happen one after the other. If `folder` exists by
    then, `may_replace` decides, under the lock, whether the new folder replaces it.
    """
    temporary = folder.with_name(f"{folder.name}.new-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            old = folder.with_name(f"{folder.name}.old")
            # POSIX cannot replace a folder that is not empty, so this takes two renames. If a process was killed
            # between them, only the old folder is left: restore it first.
            if not folder.exists() and old.exists():
                old.rename(folder)
            if not folder.exists() or may_replace():
                shutil.rmtree(old, ignore_errors=True)
                if folder.exists():
                    folder.rename(old)
                temporary.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
            _remove_leftovers(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces `file` when the block ends without an error."""
    temporary = file.with_name(f".{file.name}.new-{os.getpid()}")
    try:
        yield temporary
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove incomplete folders of processes that were killed while they wrote."""
    import psutil

    for leftover in folder.parent.glob(f"{folder.name}.new-*"):
        pid = leftover.name.rpartition("-")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(leftover, ignore_errors=True)
