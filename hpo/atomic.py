"""A folder written aside, then moved: half of one is never there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


@contextmanager
def atomic_folder(folder: Path, may_replace: Callable[[], bool] = lambda: True) -> Iterator[Path]:
    """A new folder to write to, which takes the place of `folder` once all is written; nothing is left on an error.

    Processes that write the same folder at once come one after the other; `may_replace` is asked then, where there is
    one already.
    """
    aside = folder.with_name(f"{folder.name}.new-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            old = folder.with_name(f"{folder.name}.old")
            if not folder.exists() and old.exists():
                old.rename(folder)  # a process was killed between the two moves below
            if not folder.exists() or may_replace():
                shutil.rmtree(old, ignore_errors=True)
                if folder.exists():
                    folder.rename(old)
                aside.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
            _sweep(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `file` once all is written; nothing is left on an error."""
    aside = file.with_name(f".{file.name}.new-{os.getpid()}")
    try:
        yield aside
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes have left half written."""
    import psutil

    for left in folder.parent.glob(f"{folder.name}.new-*"):
        number = left.name.rpartition("-")[2]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)
