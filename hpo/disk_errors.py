"""Recognize a full disk, which each library reports in its own way."""

from __future__ import annotations

import errno
import re

from hpo.errors import list_causes

_CODES = {errno.ENOSPC, errno.EDQUOT}
# safetensors and others written in Rust or C++ raise exceptions of their own, which have only a text.
_MESSAGES = re.compile(r"No space left on device|Disk quota exceeded|os error (28|122)\b|database or disk is full")


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that has led to it, says that there is no space left."""
    return any(
        (isinstance(cause, OSError) and cause.errno in _CODES) or _MESSAGES.search(str(cause))
        for cause in list_causes(error)
    )


def describe_full_disk(error: BaseException) -> str:
    """Return one line that says where there is no space left, if that is known, and what to do."""
    file = error.filename if isinstance(error, OSError) else None
    place = f"{file}: " if file else ""
    return (
        f"{place}no space is left on the disk; free some, then run the same command again: what was finished is stored"
    )
