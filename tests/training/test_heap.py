"""Freed memory stays with the process while it trains, and goes back to the system afterwards."""

from __future__ import annotations

import platform
import resource

import psutil
import pytest
import torch

from hpo.training import heap

MEGABYTES = 200
PAGES = MEGABYTES * 2**20 // resource.getpagesize()


def faults() -> int:
    """Pages that the system had to find for a large tensor that is filled and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(MEGABYTES * 2**20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc hands memory back at once")
def test_what_was_freed_is_taken_again_until_it_is_given_back() -> None:
    heap.keep()
    faults()
    assert faults() < PAGES / 10
    held = psutil.Process().memory_info().rss
    heap.give_back()
    assert held - psutil.Process().memory_info().rss > MEGABYTES * 2**20 * 0.9
    assert faults() > PAGES * 0.9
