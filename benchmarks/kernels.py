"""One attention layer forward and backward in bfloat16 on a CPU: torch's, and ours for training.

    python -m benchmarks.kernels

Sixteen texts, twelve heads of 32, as MiniLM has them; medians of ten turns, in turns.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from statistics import median
from typing import Any

from benchmarks.results import markdown, record

TEXTS, HEADS, SIZE = 16, 12, 32
TOKENS = (16, 32, 64, 128, 192, 256, 512)
TURNS = 10


def seconds(tokens: int) -> dict[str, list[tuple[float, float]]]:
    """By whose attention it is: the seconds forward and backward, each turn's."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    from hpo.training.acceleration.cpu_kernels import CpuKernels

    def drawn() -> Any:
        return torch.randn(TEXTS, tokens, HEADS, SIZE, dtype=torch.bfloat16).transpose(1, 2).requires_grad_()

    torch.manual_seed(0)
    ends, gradient = [drawn() for _ in range(3)], drawn().detach()
    mask = torch.ones(TEXTS, 1, tokens, tokens, dtype=torch.bool)
    mask[0, ..., tokens // 2 :] = False
    found: dict[str, list[tuple[float, float]]] = {"torch": [], "ours": []}
    for _ in range(TURNS):
        for name, own in found.items():
            with CpuKernels() if name == "ours" else nullcontext():
                began = time.perf_counter()
                out = scaled_dot_product_attention(*ends, attn_mask=mask)
                between = time.perf_counter()
                out.backward(gradient)
                own.append((between - began, time.perf_counter() - between))
    return found


def row(tokens: int) -> list[str]:
    """The cells of one length."""
    medians = {name: [1000 * median(part) for part in zip(*own, strict=True)] for name, own in seconds(tokens).items()}
    cells = [f"{each:.1f}" for own in medians.values() for each in own]
    return [str(tokens), *cells, f"{sum(medians['torch']) / sum(medians['ours']):.1f}"]


def main() -> None:
    heads = ["tokens", *(f"{who} {way}, ms" for who in ("torch", "ours") for way in ("forward", "backward"))]
    heads.append("torch's over ours")
    record("kernels", "seed 0", markdown(heads, [row(each) for each in TOKENS]))


if __name__ == "__main__":
    main()
