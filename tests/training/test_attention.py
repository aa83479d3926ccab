"""Batched attention is torch's attention, values and gradients; and it stays away from what it cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from hpo.search.listener import Listener
from hpo.search.worker import prepare
from hpo.study.spec import load
from hpo.training import attention
from hpo.training.trainer import RungTrainer

SHAPE = (5, 3, 7, 4)  # texts, heads, tokens, size
PADDED = torch.ones(5, 1, 7, 7, dtype=torch.bool)
PADDED[1, ..., 4:] = False
PADDED[3, ..., 1:] = False


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each time that batched attention is at work."""
    calls: list[Any] = []
    forward = attention._Batched.forward

    def counted(*given: Any) -> torch.Tensor:
        calls.append(given)
        return forward(*given)

    monkeypatch.setattr(attention._Batched, "forward", staticmethod(counted))
    return calls


def attended(dtype: torch.dtype, **options: Any) -> list[torch.Tensor]:
    """The output for made-up tensors, and the gradients of query, key and value."""
    torch.manual_seed(0)
    ends = [torch.randn(SHAPE).to(dtype).requires_grad_() for _ in range(3)]
    out = scaled_dot_product_attention(*ends, **options)
    out.backward(torch.randn(SHAPE).to(dtype))
    return [out.detach().float(), *(end.grad.float() for end in ends if end.grad is not None)]


@pytest.mark.parametrize("cached", [1, 300, 10**6], ids=["a text at a time", "two at a time", "all at once"])
@pytest.mark.parametrize(
    "options",
    [{}, {"attn_mask": PADDED}, {"attn_mask": torch.where(PADDED[:, :, :1], 0.0, -3.0).bfloat16()}, {"scale": 0.3},
     {"attn_mask": PADDED[:1]}],
    ids=["plain", "padded", "biased", "scaled", "one mask for all"],
)  # fmt: skip
def test_it_is_torchs_attention(
    options: dict[str, Any], cached: int, called: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "CACHED", cached)
    exact = dict(options)
    if "attn_mask" in exact and exact["attn_mask"].dtype != torch.bool:
        exact["attn_mask"] = exact["attn_mask"].float()
    wanted = attended(torch.float32, **exact)
    with attention.Batched():
        found = attended(torch.bfloat16, **options)
    assert len(called) == 1 and len(found) == 4
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, atol=0.05), (ours - theirs).abs().max()


@pytest.mark.parametrize(
    ("dtype", "options"),
    [(torch.float32, {}), (torch.bfloat16, {"dropout_p": 0.1}), (torch.bfloat16, {"is_causal": True})],
)
def test_it_stays_away_from_what_is_not_its_own(dtype: torch.dtype, options: dict[str, Any], called: list[Any]) -> None:
    with attention.Batched():
        attended(dtype, **options)
        with torch.no_grad():
            scaled_dot_product_attention(*[torch.randn(SHAPE).bfloat16() for _ in range(3)])
    assert not called


@pytest.mark.parametrize("speed", ["auto", "exact"])
def test_a_run_in_bfloat16_trains_with_it_unless_it_is_to_be_exact(small: Path, speed: str, called: list[Any]) -> None:
    task = prepare(load(small, (f"training.speed={speed}", "training.bf16=true")), Listener())[0]
    record = RungTrainer(task).run({}, seed=0)
    layers = int(task.checkpoint.config.num_hidden_layers)
    assert len(called) == (0 if speed == "exact" else layers * record.steps) and record.steps > 0
