"""Recognize a full disk, which each library reports in its own way."""

from __future__ import annotations

import errno
import re

_CODES = {errno.ENOSPC, errno.EDQUOT}
# safetensors and others written in Rust or C++ raise exceptions of their own, which have only a text.
_MESSAGES = re.compile(r"No space left on device|Disk quota exceeded|os error (28|122)\b|database or disk is full")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that has led to it, says that there is no space left."""
    while error is not None:
        if (isinstance(error, OSError) and error.errno in _CODES) or _MESSAGES.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def describe_full_disk(error: BaseException) -> str:
    """Return one line that says where there is no space left, if that is known, and what to do."""
    file = error.filename if isinstance(error, OSError) else None
    place = f"{file}: " if file else ""
    return (
        f"{place}no space is left on the disk; free some, then run the same command again: what was finished is stored"
    )
