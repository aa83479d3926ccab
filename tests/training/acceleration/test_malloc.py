"""Freed memory stays with the process while it trains, and goes back to the system afterwards."""

from __future__ import annotations

import platform
import resource

import psutil
import pytest
import torch

from hpo.training.acceleration.malloc import keep_freed_memory, release_freed_memory

PIECES, SIZE = 20, 10 * 2**20
PAGES = PIECES * SIZE // resource.getpagesize()


def faults() -> int:
    """Pages that the system had to find for tensors that are filled and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(SIZE, dtype=torch.uint8) for _ in range(PIECES)]
    del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc hands memory back at once")
def test_what_was_freed_is_taken_again_until_it_is_given_back() -> None:
    keep_freed_memory()
    faults()
    assert faults() < PAGES / 2  # a piece now and then no longer fits where it was
    held = psutil.Process().memory_info().rss
    release_freed_memory()
    assert held - psutil.Process().memory_info().rss > PIECES * SIZE * 0.9
    assert faults() > PAGES * 0.9
