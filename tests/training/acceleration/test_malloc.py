"""Test that freed memory stays in the process during training and is returned to the system afterwards."""

from __future__ import annotations

import platform
import resource

import psutil
import pytest
import torch

from hpo.training.acceleration.malloc import keep_freed_memory, release_freed_memory

BLOCKS, SIZE = 20, 10 * 2**20
PAGES = BLOCKS * SIZE // resource.getpagesize()


def count_page_faults() -> int:
    """Fill and free tensors, and return the page faults that it took."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(SIZE, dtype=torch.uint8) for _ in range(BLOCKS)]
    del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc returns memory at once")
def test_freed_memory_is_reused_until_it_is_released() -> None:
    keep_freed_memory()
    count_page_faults()
    assert count_page_faults() < PAGES / 2  # some blocks no longer fit where they were
    resident = psutil.Process().memory_info().rss
    release_freed_memory()
    assert resident - psutil.Process().memory_info().rss > BLOCKS * SIZE * 0.9
    assert count_page_faults() > PAGES * 0.9
