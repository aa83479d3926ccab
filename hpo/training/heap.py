"""The process's memory while it trains on a CPU: kept from step to step, and given back to the system after the run.

Each step takes and frees the same gigabyte of activations. glibc hands what lies free at the heap's end back to the
system at once, and the next step pays for every page of it again: a fifth of its time. Only glibc is like that, and
only it is told anything here.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # mallopt's names, from malloc.h
# Pieces from here on lie outside the heap, as glibc would come to have it by itself: inside they would split it up, for
# glibc asks for more than it then gives to a piece that must lie at a round address, as torch's must.
LARGE = 32 * 2**20


def keep() -> None:
    """Let freed memory stay with the process."""
    with suppress(OSError, AttributeError):
        libc = _glibc()
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(MMAP_THRESHOLD, LARGE)


def give_back() -> None:
    """Hand freed memory to the system."""
    with suppress(OSError, AttributeError):
        _glibc().malloc_trim(0)


def _glibc() -> Any:
    """The library. Raises OSError or AttributeError where there is another."""
    return ctypes.CDLL("libc.so.6")
