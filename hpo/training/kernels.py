"""Attention and dropout of a training step on a CPU, where torch's own are slow.

torch fuses attention without dropout. Forward that is quick; backward it multiplies head by head in small blocks, and
in bfloat16 a product takes longer to set up than to do. Here the products of several texts are one call, the attention
weights are kept from forward to backward, and so few are worked on at a time that they stay in the processor's cache.

torch draws a double for each element that dropout may drop. Here one draw of 64 bits decides on four elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

CACHED = 3 * 2**20  # attention weights at a time, 6 MB of bfloat16
KEPT = (
    2**26
)  # attention weights of a layer, 128 MB: with more of them torch's attention, which keeps none, is the better
LEVELS = 2**16  # of a draw: dropout's probability is rounded to one of them


class Kernels(TorchFunctionMode):
    """While it lasts, attention and dropout are computed by this module where they can be, and all else as ever."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        own: dict[Any, Callable[..., Any]] = {scaled_dot_product_attention: _attend, dropout: _drop}
        out = own[func](*args, **(kwargs or {})) if func in own else None
        return func(*args, **(kwargs or {})) if out is None else out


def _drop(states: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor | None:
    """What torch's function gives, from other draws; None where it is not for this module."""
    dropped = round(p * LEVELS)
    if not (training and 0 < dropped < LEVELS and states.device.type == "cpu") or inplace:
        return None
    draws = torch.empty(-(-states.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    levels = draws.view(torch.int16)[: states.numel()].view(states.shape)
    kept = (levels >= dropped - LEVELS // 2).to(states.dtype)
    return states * kept.mul_(LEVELS / (LEVELS - dropped))


class _Batched(torch.autograd.Function):
    """softmax(query key^T scale + mask) value, all of shape (texts, heads, tokens, size)."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, mask: Any, scale: float) -> torch.Tensor:
        out, kept = torch.empty_like(query), []
        for part in _parts(query):
            scores = (query[part] @ key[part].transpose(2, 3)).mul_(scale)
            if mask is not None:
                scores += mask[part]
            weights = torch.softmax(scores, dim=-1)
            out[part] = weights @ value[part]
            kept.append(weights)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        query, key, value, *kept = ctx.saved_tensors
        of_query, of_key, of_value = (torch.empty_like(each) for each in (query, key, value))
        for part, weights in zip(_parts(query), kept, strict=True):
            of_value[part] = weights.transpose(2, 3) @ gradient[part]
            of_weights = gradient[part] @ value[part].transpose(2, 3)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            of_query[part] = of_scores @ key[part]
            of_key[part] = of_scores.transpose(2, 3) @ query[part]
        return of_query.mul_(ctx.scale), of_key.mul_(ctx.scale), of_value, None, None


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, **others: Any,
) -> torch.Tensor | None:  # fmt: skip
    """What torch's function of these parameters gives; None where it is not for this module.

    It is for an encoder's own: all of one shape, in bfloat16, with gradients, and a mask by which each token sees some.
    """
    is_encoders = query.shape == key.shape == value.shape and query.dim() == 4 and query.numel() > 0
    in_bfloat16 = query.dtype == key.dtype == value.dtype == torch.bfloat16 and query.device.type == "cpu"
    if not (is_encoders and in_bfloat16 and query.requires_grad and torch.is_grad_enabled()):
        return None
    if dropout_p or is_causal or any(others.values()) or _weights(query) * len(query) > KEPT:
        return None
    if attn_mask is not None:
        if attn_mask.dtype != torch.bool or attn_mask.dim() != 4 or not attn_mask.any(-1).all():
            return None
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, -torch.inf)
        attn_mask = attn_mask.expand(len(query), *attn_mask.shape[1:])
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    out: torch.Tensor = _Batched.apply(query, key, value, attn_mask, scale)  # type: ignore[no-untyped-call]
    return out


def _weights(query: torch.Tensor) -> int:
    """The attention weights of one text."""
    return query.shape[1] * query.shape[2] ** 2


def _parts(query: torch.Tensor) -> Iterator[slice]:
    """The texts in so many turns that their attention weights stay in the cache."""
    texts = max(1, CACHED // _weights(query))
    return (slice(start, start + texts) for start in range(0, len(query), texts))
