"""Measure the machine's peak speed of matrix products, to compare others with: shared machines vary by the hour."""

from __future__ import annotations

import time
from typing import Any

SIZE = {"cpu": 2048, "cuda": 8192}


def measure_matmul(dtype: Any = None, seconds: float = 1.0) -> float:
    """Return GFLOP/s of products of two square matrices: the best within the given seconds, float32 by default."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = SIZE[device]
    left, right = (torch.randn(size, size, device=device).to(dtype or torch.float32) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e9
