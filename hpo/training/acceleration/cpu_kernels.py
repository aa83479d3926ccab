"""Attention and dropout on a CPU, where torch's own are slow.

torch fuses attention without dropout: it multiplies head by head in small blocks, and in bfloat16 a product takes
longer to set up than to do. Here the products of several texts are one call, so few of them that their attention
weights stay in the processor's cache, and in training the weights are kept from forward to backward.

torch draws a double for each element that dropout may drop. Here one draw of 64 bits decides on four elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

CACHE_ELEMENTS = 3 * 2**20  # attention weights at a time, 6 MB of bfloat16
MAX_KEPT_ELEMENTS = (
    2**26
)  # attention weights of a layer in training, 128 MB; with more torch's way is better, which keeps none
DROPOUT_LEVELS = 2**16  # of a draw: dropout's probability is rounded to one of them


class CpuKernels(TorchFunctionMode):
    """While it lasts, attention and dropout are computed by this module where they can be, and all else as ever."""

    def __init__(self) -> None:
        super().__init__()
        # The last mask and what was made of it: a model's layers share theirs.
        self._mask: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self._own: dict[Any, Callable[..., Any]] = {scaled_dot_product_attention: self._attend, dropout: _drop}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = self._own[func](*args, **(kwargs or {})) if func in self._own else None
        return func(*args, **(kwargs or {})) if out is None else out

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **others: Any,
    ) -> torch.Tensor | None:
        """What torch's function of these parameters gives; None where it is not for this module.

        It is for an encoder's own: all of one shape, and a mask by which each token sees some. Where all tokens ask the
        same (first_token.py) one of them does.
        """
        is_encoders = query.shape == key.shape == value.shape and query.dim() == 4 and query.numel() > 0
        if not is_encoders or query.device.type != "cpu" or dropout_p or is_causal or any(others.values()):
            return None
        asked = query
        if query.stride(2) == 0 and _is_of_all(attn_mask):
            query = query[:, :, :1]
            attn_mask = attn_mask if attn_mask is None else attn_mask[:, :, :1]
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        out = self._batched(query, key, value, attn_mask, scale)
        if out is None and query is not asked:
            out = scaled_dot_product_attention(query, key, value, attn_mask, scale=scale)
        return out if out is None else out.expand_as(asked)

    def _batched(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float
    ) -> torch.Tensor | None:
        """Attention by products of several texts; None in other precisions, and for a mask of another kind."""
        if not query.dtype == key.dtype == value.dtype == torch.bfloat16:
            return None
        if torch.is_grad_enabled() and query.requires_grad and _weights(query, key) * len(query) > MAX_KEPT_ELEMENTS:
            return None
        if mask is not None:
            mask = self._additive(mask, query.dtype)
            if mask is None:
                return None
            mask = mask.expand(len(query), *mask.shape[1:])
        out: torch.Tensor = _Batched.apply(query, key, value, mask, scale)  # type: ignore[no-untyped-call]
        return out

    def _additive(self, mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | None:
        """A mask of yes and no as one that is added; None for one of another kind, or where a token sees nothing."""
        if mask.dtype != torch.bool or mask.dim() != 4:
            return None
        if self._mask is None or not self._mask[0].is_set_to(mask):
            added = torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, -torch.inf)
            self._mask = mask, added if mask.any(-1).all() else None
        return self._mask[1]


def _drop(states: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor | None:
    """What torch's function gives, from other draws; None where it is not for this module."""
    dropped = round(p * DROPOUT_LEVELS)
    if not (training and 0 < dropped < DROPOUT_LEVELS and states.device.type == "cpu") or inplace:
        return None
    draws = torch.empty(-(-states.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    levels = draws.view(torch.int16)[: states.numel()].view(states.shape)
    kept = (levels >= dropped - DROPOUT_LEVELS // 2).to(states.dtype)
    return states * kept.mul_(DROPOUT_LEVELS / (DROPOUT_LEVELS - dropped))


class _Batched(torch.autograd.Function):
    """softmax(query key^T scale + mask) value, all of shape (texts, heads, tokens, size); queries may be fewer."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, mask: Any, scale: float) -> torch.Tensor:
        out, kept = torch.empty_like(query), []
        for part in _parts(query, key):
            scores = (query[part] @ key[part].transpose(2, 3)).mul_(scale)
            if mask is not None:
                scores += mask[part]
            weights = torch.softmax(scores, dim=-1)
            out[part] = weights @ value[part]
            if any(ctx.needs_input_grad):
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
        for part, weights in zip(_parts(query, key), kept, strict=True):
            of_value[part] = weights.transpose(2, 3) @ gradient[part]
            of_weights = gradient[part] @ value[part].transpose(2, 3)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            of_query[part] = of_scores @ key[part]
            of_key[part] = of_scores.transpose(2, 3) @ query[part]
        return of_query.mul_(ctx.scale), of_key.mul_(ctx.scale), of_value, None, None


def _is_of_all(mask: torch.Tensor | None) -> bool:
    """Whether all tokens that ask see the same."""
    return mask is None or mask.dim() == 4 and bool((mask == mask[:, :, :1]).all())


def _weights(query: torch.Tensor, key: torch.Tensor) -> int:
    """The attention weights of one text."""
    return query.shape[1] * query.shape[2] * key.shape[2]


def _parts(query: torch.Tensor, key: torch.Tensor) -> Iterator[slice]:
    """The texts in so many turns that their attention weights stay in the cache."""
    texts = max(1, CACHE_ELEMENTS // _weights(query, key))
    return (slice(start, start + texts) for start in range(0, len(query), texts))
