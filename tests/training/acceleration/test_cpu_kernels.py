"""Attention is torch's, values and gradients; dropout drops its share; and what is not theirs is left to torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from hpo.search.search_listener import SearchListener
from hpo.search.worker import prepare_context
from hpo.study.spec import load_study
from hpo.training.acceleration import cpu_kernels
from hpo.training.trainer import RungTrainer

SHAPE = (5, 3, 7, 4)  # texts, heads, tokens, size
PADDED = torch.ones(5, 1, 7, 7, dtype=torch.bool)
PADDED[1, ..., 4:] = False
PADDED[3, ..., 1:] = False


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each time that batched attention is at work."""
    calls: list[Any] = []
    forward = cpu_kernels._Batched.forward

    def counted(*given: Any) -> torch.Tensor:
        calls.append(given)
        return forward(*given)

    monkeypatch.setattr(cpu_kernels._Batched, "forward", staticmethod(counted))
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
    [
        {},
        {"attn_mask": PADDED},
        {"attn_mask": PADDED[:, :, :1]},
        {"attn_mask": PADDED[:1]},
        {"scale": 0.3},
        {"attn_mask": PADDED.repeat(1, 3, 1, 1)},
    ],
    ids=["plain", "padded", "a mask for all tokens", "a mask for all texts", "scaled", "a mask per head"],
)
def test_it_is_torchs_attention(
    options: dict[str, Any], cached: int, called: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_kernels, "CACHE_ELEMENTS", cached)
    wanted = attended(torch.float32, **options)
    with cpu_kernels.CpuKernels():
        found = attended(torch.bfloat16, **options)
    assert len(called) == 1 and len(found) == 4
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, atol=0.05), (ours - theirs).abs().max()


class Torchs(TorchFunctionMode):
    """Notes the queries that torch's own attention is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[torch.Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention:
            self.queries.append(args[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", [None, PADDED, PADDED[:, :, :1]], ids=["plain", "padded", "a mask for all tokens"])
def test_where_all_tokens_ask_the_same_one_of_them_does(
    mask: torch.Tensor | None, dtype: torch.dtype, called: list[Any]
) -> None:
    def asked_alike(dtype: torch.dtype) -> list[torch.Tensor]:
        torch.manual_seed(0)
        ends = [torch.randn(SHAPE).to(dtype).requires_grad_() for _ in range(3)]
        out = scaled_dot_product_attention(ends[0][:, :, :1].expand(SHAPE), *ends[1:], mask)
        out.backward(torch.randn(SHAPE).to(dtype))
        return [out.detach().float(), *(end.grad.float() for end in ends if end.grad is not None)]

    wanted = asked_alike(torch.float32)
    with Torchs() as torchs, cpu_kernels.CpuKernels():
        found = asked_alike(dtype)
    assert [query.shape[2] for query in torchs.queries or [given[1] for given in called]] == [1]
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, atol=0.1 if dtype == torch.bfloat16 else 1e-5), (ours - theirs).abs().max()


def test_tokens_that_ask_the_same_of_different_tokens_each_ask(called: list[Any]) -> None:
    staircase = torch.ones(7, 7).tril().bool().expand(5, 1, 7, 7)
    query, key, value = (torch.randn(SHAPE).bfloat16().requires_grad_() for _ in range(3))
    with cpu_kernels.CpuKernels():
        scaled_dot_product_attention(query[:, :, :1].expand(SHAPE), key, value, staircase)
    assert [given[1].shape[2] for given in called] == [7]


def test_nothing_is_kept_without_gradients(called: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_kernels, "MAX_KEPT_ELEMENTS", 0)
    wanted = attended(torch.float32)[0]
    torch.manual_seed(0)
    with cpu_kernels.CpuKernels(), torch.no_grad():
        found = scaled_dot_product_attention(*[torch.randn(SHAPE).bfloat16() for _ in range(3)])
    assert len(called) == 1 and torch.allclose(found.float(), wanted, atol=0.05)


def test_a_mask_is_made_additive_once_for_all_layers(called: list[Any]) -> None:
    ends = [torch.randn(SHAPE).bfloat16().requires_grad_() for _ in range(3)]
    with cpu_kernels.CpuKernels():
        for mask in (PADDED, PADDED[:, :, :, :7], PADDED.clone()):
            scaled_dot_product_attention(*ends, mask)
    one, same, another = (given[4] for given in called)
    assert same.data_ptr() == one.data_ptr() != another.data_ptr()


SEES_NOTHING = PADDED.clone()
SEES_NOTHING[0, 0, 2] = False


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (torch.float32, {}),
        (torch.bfloat16, {"dropout_p": 0.1}),
        (torch.bfloat16, {"is_causal": True}),
        (torch.bfloat16, {"attn_mask": PADDED[0, 0]}),
        (torch.bfloat16, {"attn_mask": SEES_NOTHING}),
        (torch.bfloat16, {"attn_mask": PADDED.bfloat16()}),
    ],
    ids=["float32", "dropout", "causal", "a flat mask", "a token that sees nothing", "a bias"],
)
def test_it_stays_away_from_what_is_not_its_own(dtype: torch.dtype, options: dict[str, Any], called: list[Any]) -> None:
    with cpu_kernels.CpuKernels():
        attended(dtype, **options)
    assert not called


def test_it_keeps_no_more_than_fits(called: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_kernels, "MAX_KEPT_ELEMENTS", 5 * 3 * 7 * 7 - 1)
    with cpu_kernels.CpuKernels():
        attended(torch.bfloat16)
    assert not called


@pytest.mark.parametrize("speed", ["auto", "exact"])
def test_a_run_in_bfloat16_does_it_unless_it_is_to_be_exact(small: Path, speed: str, called: list[Any]) -> None:
    task = prepare_context(load_study(small, (f"training.speed={speed}", "training.bf16=true")), SearchListener())[0]
    record = RungTrainer(task).run({}, seed=0)
    layers = int(task.checkpoint.config.num_hidden_layers)
    training = [given for given in called if given[1].requires_grad]
    assert len(training) == (0 if speed == "exact" else layers * record.steps) and record.steps > 0
    assert (len(called) > len(training)) == (speed == "auto")  # evaluation too


@pytest.mark.parametrize(("share", "dtype"), [(0.1, torch.float32), (0.5, torch.bfloat16), (0.999, torch.float32)])
def test_dropout_drops_its_share_and_keeps_the_mean(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ones = torch.ones(501, 401, dtype=dtype, requires_grad=True)
    with cpu_kernels.CpuKernels():
        out = torch.nn.functional.dropout(ones, share)
    kept = out != 0
    assert float(kept.float().mean()) == pytest.approx(1 - share, abs=4 * (share * (1 - share) / ones.numel()) ** 0.5)
    assert float(out.detach()[kept].float().mean()) == pytest.approx(1 / (1 - share), rel=0.01)
    out.backward(torch.ones_like(out))
    assert ones.grad is not None and torch.equal(ones.grad, out.detach())
    for lane in range(4):  # of one draw
        assert float(kept.reshape(-1)[lane::4].float().mean()) == pytest.approx(1 - share, abs=0.01)


def test_dropout_follows_the_seed_and_is_none_in_evaluation() -> None:
    ones, outs = torch.ones(100), []
    with cpu_kernels.CpuKernels():
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            outs.append(torch.nn.functional.dropout(ones, 0.3))
        assert torch.equal(torch.nn.functional.dropout(ones, 0.3, training=False), ones)
        assert torch.equal(torch.nn.functional.dropout(ones, 0.0), ones)
        assert not torch.nn.functional.dropout(ones, 1.0).any()
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], outs[2])
