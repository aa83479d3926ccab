"""Choose how `hpo predict` reads a file: as the shell says, else as the files of training were read."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, fields
from pathlib import Path

from hpo.data.columns import ReadOptions
from hpo.study.file_options import Quoting

_BLOCK_BYTES = 2**20
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

    The encoding of training is left out for a file that says itself that it is UTF-8 or UTF-16: many people train on
    an old export and predict what a program writes today.
    """
    names = [field.name for field in fields(given)]
    chosen = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    taken = {name: getattr(trained, name) for name in names if name not in chosen}
    if taken.get("encoding") is not None and _is_unicode(file):
        taken["encoding"] = None
    return ReadOptions(**chosen, **taken, are_arguments=True, trained=frozenset(taken))


def _is_unicode(file: Path) -> bool:
    """Whether a file starts with a byte order mark, or is UTF-8 with characters that are not ASCII.

    The whole file is read, because its first such character can be far below; a text in another encoding is hardly
    ever valid UTF-8. A NUL means UTF-16 without a mark. False for a file that cannot be opened: its reader says why.
    """
    decoder, has_other_characters = codecs.getincrementaldecoder("utf-8")(), False
    try:
        with file.open("rb") as handle:
            block = handle.read(_BLOCK_BYTES)
            if block.startswith(_BYTE_ORDER_MARKS):
                return True
            while block:
                if b"\0" in block:
                    return False
                decoder.decode(block)
                has_other_characters |= not block.isascii()
                block = handle.read(_BLOCK_BYTES)
            decoder.decode(b"", final=True)
    except (OSError, UnicodeDecodeError):
        return False
    return has_other_characters
