"""Choose how `hpo predict` reads a file: as the shell says, else as the files of training were read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from hpo.data.columns import ReadOptions
from hpo.data.text_encoding import is_mostly_unicode
from hpo.study.file_options import Quoting


@dataclass(frozen=True)
class GivenOptions:
    """The options that the shell gives about a file; None for those that it leaves to training."""

    separator: str | None = None
    quoting: Quoting | None = None
    encoding: str | None = None
    header: bool | None = None


def choose_read_options(file: Path, given: GivenOptions, trained: ReadOptions) -> ReadOptions:
    """Return the given options, completed with those of training.

    The encoding of training is left out for a file that is recognized as UTF-8, or as UTF-16 by its byte order mark:
    many people train on an old export and predict what a program writes today.
    """
    names = [field.name for field in fields(given)]
    chosen = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    taken = {name: getattr(trained, name) for name in names if name not in chosen}
    if taken.get("encoding") is not None and is_mostly_unicode(file):
        taken["encoding"] = None
    return ReadOptions(**chosen, **taken, are_arguments=True, trained=frozenset(taken))
