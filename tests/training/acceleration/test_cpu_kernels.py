"""Tests of CpuKernels: attention equals torch's, dropout drops its share, other cases are left to torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.study.spec import load_study
from hpo.training.acceleration import cpu_kernels
from hpo.training.trainer import RungTrainer

SHAPE = (5, 3, 7, 4)  # texts, heads, tokens, size
PADDED = torch.ones(5, 1, 7, 7, dtype=torch.bool)
PADDED[1, ..., 4:] = False
PADDED[3, ..., 1:] = False


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record the arguments of every call of batched attention."""
    recorded: list[Any] = []
    forward = cpu_kernels._BatchedAttention.forward

    def record(*args: Any) -> torch.Tensor:
        recorded.append(args)
        return forward(*args)

    monkeypatch.setattr(cpu_kernels._BatchedAttention, "forward", staticmethod(record))
    return recorded


def attend(dtype: torch.dtype, **options: Any) -> list[torch.Tensor]:
    """Return the output for random tensors, and the gradients of query, key and value."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(SHAPE).to(dtype).requires_grad_() for _ in range(3))
    out = scaled_dot_product_attention(query, key, value, **options)
    out.backward(torch.randn(SHAPE).to(dtype))
    return [out.detach().float(), *(each.grad.float() for each in (query, key, value) if each.grad is not None)]


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
    ids=["plain", "padded", "one mask for all tokens", "one mask for all texts", "scaled", "a mask per head"],
)
def test_attention_equals_that_of_torch(
    options: dict[str, Any], cached: int, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_kernels, "CACHE_ELEMENTS", cached)
    expected = attend(torch.float32, **options)
    with cpu_kernels.CpuKernels():
        actual = attend(torch.bfloat16, **options)
    assert len(calls) == 1 and len(actual) == 4
    for one, other in zip(actual, expected, strict=True):
        assert torch.allclose(one, other, atol=0.05), (one - other).abs().max()


class QueryRecorder(TorchFunctionMode):
    """Records the queries that torch's own attention gets."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[torch.Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention:
            self.queries.append(args[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", [None, PADDED, PADDED[:, :, :1]], ids=["plain", "padded", "one mask for all tokens"])
def test_attention_is_computed_once_if_all_tokens_have_the_same_query(
    mask: torch.Tensor | None, dtype: torch.dtype, calls: list[Any]
) -> None:
    def attend_with_one_query(dtype: torch.dtype) -> list[torch.Tensor]:
        torch.manual_seed(0)
        query, key, value = (torch.randn(SHAPE).to(dtype).requires_grad_() for _ in range(3))
        out = scaled_dot_product_attention(query[:, :, :1].expand(SHAPE), key, value, mask)
        out.backward(torch.randn(SHAPE).to(dtype))
        return [out.detach().float(), *(each.grad.float() for each in (query, key, value) if each.grad is not None)]

    expected = attend_with_one_query(torch.float32)
    with QueryRecorder() as recorder, cpu_kernels.CpuKernels():
        actual = attend_with_one_query(dtype)
    assert [query.shape[2] for query in recorder.queries or [args[1] for args in calls]] == [1]
    for one, other in zip(actual, expected, strict=True):
        assert torch.allclose(one, other, atol=0.1 if dtype == torch.bfloat16 else 1e-5), (one - other).abs().max()


def test_attention_is_computed_per_token_if_masks_differ(calls: list[Any]) -> None:
    staircase = torch.ones(7, 7).tril().bool().expand(5, 1, 7, 7)
    query, key, value = (torch.randn(SHAPE).bfloat16().requires_grad_() for _ in range(3))
    with cpu_kernels.CpuKernels():
        scaled_dot_product_attention(query[:, :, :1].expand(SHAPE), key, value, staircase)
    assert [args[1].shape[2] for args in calls] == [7]


def test_weights_are_not_kept_without_gradients(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_kernels, "MAX_KEPT_ELEMENTS", 0)
    expected = attend(torch.float32)[0]
    torch.manual_seed(0)
    query, key, value = (torch.randn(SHAPE).bfloat16() for _ in range(3))
    with cpu_kernels.CpuKernels(), torch.no_grad():
        actual = scaled_dot_product_attention(query, key, value)
    assert len(calls) == 1 and torch.allclose(actual.float(), expected, atol=0.05)


def test_mask_is_converted_once_for_all_layers(calls: list[Any]) -> None:
    query, key, value = (torch.randn(SHAPE).bfloat16().requires_grad_() for _ in range(3))
    with cpu_kernels.CpuKernels():
        for mask in (PADDED, PADDED[:, :, :, :7], PADDED.clone()):
            scaled_dot_product_attention(query, key, value, mask)
    one, same, another = (args[4] for args in calls)
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
def test_unsupported_attention_is_left_to_torch(dtype: torch.dtype, options: dict[str, Any], calls: list[Any]) -> None:
    with cpu_kernels.CpuKernels():
        attend(dtype, **options)
    assert not calls


def test_attention_with_too_many_weights_is_left_to_torch(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_kernels, "MAX_KEPT_ELEMENTS", 5 * 3 * 7 * 7 - 1)
    with cpu_kernels.CpuKernels():
        attend(torch.bfloat16)
    assert not calls


@pytest.mark.parametrize("speed", ["auto", "exact"])
def test_runs_in_bfloat16_use_it_unless_speed_is_exact(small: Path, speed: str, calls: list[Any]) -> None:
    context = prepare_context(load_study(small, (f"training.speed={speed}", "training.bf16=true")), SearchListener())[0]
    measurements = RungTrainer(context).run({}, seed=0)
    layers = int(context.checkpoint.config.num_hidden_layers)
    training = [args for args in calls if args[1].requires_grad]
    assert len(training) == (0 if speed == "exact" else layers * measurements.steps) and measurements.steps > 0
    assert (len(calls) > len(training)) == (speed == "auto")  # evaluation too


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


def test_dropout_follows_the_seed_and_is_off_in_evaluation() -> None:
    ones, outputs = torch.ones(100), []
    with cpu_kernels.CpuKernels():
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            outputs.append(torch.nn.functional.dropout(ones, 0.3))
        assert torch.equal(torch.nn.functional.dropout(ones, 0.3, training=False), ones)
        assert torch.equal(torch.nn.functional.dropout(ones, 0.0), ones)
        assert not torch.nn.functional.dropout(ones, 1.0).any()
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])
