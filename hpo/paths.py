"""Paths as people type them: on the command line, in study files and in storage URLs."""

from __future__ import annotations

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
