"""Choose how `hpo predict` reads a file: as the shell says, else as the files of training were read."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, fields
from pathlib import Path

from hpo.data.columns import ReadOptions
from hpo.study.file_options import Quoting

_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


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
    if taken.get("encoding") is not None and _is_unicode(file):
        taken["encoding"] = None
    return ReadOptions(**chosen, **taken, are_arguments=True, trained=frozenset(taken))


def _is_unicode(file: Path) -> bool:
    """Whether a file starts with a byte order mark, or most of its lines that are not ASCII are UTF-8.

    The whole file is read, because its first such line can be far below. A line in another encoding is hardly ever
    valid UTF-8, and a file of UTF-8 can have a damaged line. A NUL means UTF-16 without a mark. False for a file that
    cannot be opened: its reader says why.
    """
    valid, invalid = 0, 0
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines):
                if number == 0 and line.startswith(_BYTE_ORDER_MARKS):
                    return True
                if b"\0" in line:
                    return False
                if line.isascii():
                    continue
                try:
                    line.decode()
                    valid += 1
                except UnicodeDecodeError:
                    invalid += 1
    except OSError:
        return False
    return valid > invalid
