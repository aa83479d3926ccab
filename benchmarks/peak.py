"""Measure the machine's peak speed of matrix products, to compare others with: shared machines vary by the hour."""

from __future__ import annotations

import time
from typing import Any

from hpo.training.library_internals import has_bf16_instructions

SIZE = {"cpu": 2048, "cuda": 8192}
EMULATED_SIZE = 256


def measure_matmul(dtype: Any = None, seconds: float = 1.0) -> float:
    """Return GFLOP/s of products of two square matrices: the best within the given seconds, float32 by default."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Without instructions for bfloat16 one product of this size takes minutes, because torch emulates it.
    is_emulated = device == "cpu" and dtype == torch.bfloat16 and not has_bf16_instructions()
    size = EMULATED_SIZE if is_emulated else SIZE[device]
    left, right = (torch.randn(size, size, device=device).to(dtype or torch.float32) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e9
