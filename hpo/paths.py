"""Paths as people type them, and copies of folders."""

from __future__ import annotations

import shutil
from os import PathLike
from pathlib import Path


def expand_path(text: str | PathLike[str]) -> Path:
    """Return a path in which `~` or `~name` at its start is replaced by the home folder.

    Shells expand it in some places only: not within quotes, and not in `--output=~/models`.
    """
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:  # no user of that name, so the folder itself is called so
        return path


def copy_files(source: Path, target: Path) -> None:
    """Copy all files below a folder but hpo's own marks, and without their permissions.

    So the copy of a write-protected folder can be written.
    """
    target.mkdir(exist_ok=True)
    for path in sorted(path for path in source.rglob("*") if not path.name.startswith(".hpo-")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(exist_ok=True)
        else:
            shutil.copyfile(path, copy)
