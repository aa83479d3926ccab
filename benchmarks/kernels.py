"""Time one attention layer forward and backward in bfloat16 on a CPU: torch's kernel, and ours for training.

    python -m benchmarks.kernels

Sixteen texts and twelve heads of size 32, as in MiniLM; medians of ten rounds in which both alternate.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from statistics import median
from typing import Any

from benchmarks.results import markdown_table, write_table

TEXTS, HEADS, SIZE = 16, 12, 32
TOKENS = (16, 32, 64, 128, 192, 256, 512)
ROUNDS = 10


def time_attention(tokens: int) -> dict[str, list[tuple[float, float]]]:
    """Return kernel -> seconds forward and backward of each round."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    from hpo.training.acceleration.cpu_kernels import CpuKernels

    def random_tensor() -> Any:
        return torch.randn(TEXTS, tokens, HEADS, SIZE, dtype=torch.bfloat16).transpose(1, 2).requires_grad_()

    torch.manual_seed(0)
    (query, key, value), gradient = (random_tensor() for _ in range(3)), random_tensor().detach()
    mask = torch.ones(TEXTS, 1, tokens, tokens, dtype=torch.bool)
    mask[0, ..., tokens // 2 :] = False
    times: dict[str, list[tuple[float, float]]] = {"torch": [], "ours": []}
    for _ in range(ROUNDS):
        for name, rounds in times.items():
            with CpuKernels() if name == "ours" else nullcontext():
                began = time.perf_counter()
                out = scaled_dot_product_attention(query, key, value, attn_mask=mask)
                between = time.perf_counter()
                out.backward(gradient)
                rounds.append((between - began, time.perf_counter() - between))
    return times


def row(tokens: int) -> list[str]:
    """Return the cells for one number of tokens."""
    medians = {
        name: [1000 * median(part) for part in zip(*rounds, strict=True)]
        for name, rounds in time_attention(tokens).items()
    }
    cells = [f"{each:.1f}" for rounds in medians.values() for each in rounds]
    return [str(tokens), *cells, f"{sum(medians['torch']) / sum(medians['ours']):.1f}"]


def main() -> None:
    heads = ["tokens", *(f"{who} {way} (ms)" for who in ("torch", "ours") for way in ("forward", "backward"))]
    heads.append("torch / ours")
    write_table("kernels", "seed 0", markdown_table(heads, [row(each) for each in TOKENS]))


if __name__ == "__main__":
    main()
