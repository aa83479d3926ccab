"""Attention in bfloat16 on a CPU, by products of several texts at once, where torch's own backward pass is slow.

torch fuses attention without dropout. Forward that is quick; backward it multiplies head by head in small blocks, and
in bfloat16 a product takes longer to set up than to do. Here the products of several texts are one call, the attention
weights are kept from forward to backward, and so few are worked on at a time that they stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

CACHED = 3 * 2**20  # attention weights at a time, 6 MB of bfloat16


class _Batched(torch.autograd.Function):
    """softmax(query key^T scale + mask) value, all of shape (texts, heads, tokens, size)."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, mask: Any, scale: float) -> torch.Tensor:
        out, kept = torch.empty_like(query), []
        for part in _parts(query, key):
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
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        query, key, value, *kept = ctx.saved_tensors
        of_query, of_key, of_value = (torch.empty_like(each) for each in (query, key, value))
        for part, weights in zip(_parts(query, key), kept, strict=True):
            of_value[part] = weights.transpose(2, 3) @ gradient[part]
            of_weights = gradient[part] @ value[part].transpose(2, 3)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            of_query[part] = of_scores @ key[part]
            of_key[part] = of_scores.transpose(2, 3) @ query[part]
        return of_query.mul_(ctx.scale), of_key.mul_(ctx.scale), of_value, None, None


class Batched(TorchFunctionMode):
    """While it lasts, attention is computed by this module where it can be, and all else as ever."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention and (out := _attend(*args, **(kwargs or {}))) is not None:
            return out
        return func(*args, **(kwargs or {}))


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, **others: Any,
) -> torch.Tensor | None:  # fmt: skip
    """What torch's function of these parameters gives; None where it is not for this module."""
    alike = query.dtype == key.dtype == value.dtype == torch.bfloat16 and query.shape[:2] == key.shape[:2]
    if not (alike and query.device.type == "cpu" and query.dim() == 4 and torch.is_grad_enabled()):
        return None
    if dropout_p or is_causal or any(others.values()) or attn_mask is not None and attn_mask.requires_grad:
        return None
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            nothing = torch.finfo(query.dtype).min
            attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, nothing)
        attn_mask = attn_mask.to(query.dtype).expand(len(query), *attn_mask.shape[1:])
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    out: torch.Tensor = _Batched.apply(query, key, value, attn_mask, scale)  # type: ignore[no-untyped-call]
    return out


def _parts(query: torch.Tensor, key: torch.Tensor) -> Iterator[slice]:
    """The texts in so many turns that their attention weights stay in the cache."""
    texts = max(1, CACHED // (query.shape[1] * query.shape[2] * key.shape[2]))
    return (slice(start, start + texts) for start in range(0, len(query), texts))
