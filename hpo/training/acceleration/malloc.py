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
# Pieces from here on lie outside the heap, as glibc comes to have it by itself, and twice as much may lie free at its
# end. Inside large pieces would split it up: glibc needs more room for one at a round address than it then gives to it.
LARGE_BLOCK = 32 * 2**20


def keep_freed_memory() -> None:
    """Let freed memory stay with the process."""
    _allow(free=2**31 - 1)


def release_freed_memory() -> None:
    """Hand freed memory to the system, now and again as soon as it is free."""
    _allow(free=2 * LARGE_BLOCK)
    with suppress(OSError, AttributeError):
        _glibc().malloc_trim(0)


def _allow(free: int) -> None:
    with suppress(OSError, AttributeError):
        _glibc().mallopt(TRIM_THRESHOLD, free)
        _glibc().mallopt(MMAP_THRESHOLD, LARGE_BLOCK)


def _glibc() -> Any:
    """The library; where there is another, this raises OSError, and what is asked of it AttributeError."""
    return ctypes.CDLL("libc.so.6")
