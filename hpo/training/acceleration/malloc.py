"""Memory reuse during training on a CPU, by malloc's trim threshold.

Each step allocates and frees the same gigabyte of activations. glibc returns free memory at the end of the heap to the
kernel at once, so the next step page-faults it back in, which takes a fifth of its time. Only glibc does that, and only
its settings are changed here; with another C library these functions do nothing.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of mallopt, from malloc.h
# Blocks of this size and more are mapped outside the heap, a threshold that glibc arrives at by itself, and twice as
# much may stay free at the end of the heap. Larger blocks inside the heap would fragment it: for a block at an aligned
# address glibc needs more room than it gives to it afterwards.
LARGE_BLOCK = 32 * 2**20


def keep_freed_memory() -> None:
    """Keep freed memory in the process."""
    _set_thresholds(trim=2**31 - 1)


def release_freed_memory() -> None:
    """Return freed memory to the system, now and from now on."""
    _set_thresholds(trim=2 * LARGE_BLOCK)
    with suppress(OSError, AttributeError):
        _load_glibc().malloc_trim(0)


def _set_thresholds(trim: int) -> None:
    with suppress(OSError, AttributeError):
        _load_glibc().mallopt(TRIM_THRESHOLD, trim)
        _load_glibc().mallopt(MMAP_THRESHOLD, LARGE_BLOCK)


def _load_glibc() -> Any:
    """Return the library. Raises OSError if there is none; another C library lacks the functions (AttributeError)."""
    return ctypes.CDLL("libc.so.6")
