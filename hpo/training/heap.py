"""The process's memory while it trains on a CPU: kept from step to step, and given back to the system after the run.

Each step takes and frees the same gigabyte of activations. glibc hands large pieces back to the system as soon as they
are free, and the next step pays for every page of them again: a fifth of its time. Only glibc is like that, and only it
is told anything here.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # mallopt's names, from malloc.h
MOST = 2**31 - 1


def keep() -> None:
    """Let freed memory stay with the process, large pieces too."""
    with suppress(OSError, AttributeError):
        libc = _glibc()
        libc.mallopt(TRIM_THRESHOLD, MOST)
        libc.mallopt(MMAP_THRESHOLD, MOST)


def give_back() -> None:
    """Hand freed memory to the system."""
    with suppress(OSError, AttributeError):
        _glibc().malloc_trim(0)


def _glibc() -> Any:
    """The library. Raises OSError or AttributeError where there is another."""
    return ctypes.CDLL("libc.so.6")
