"""Attention and dropout on a CPU, where torch's own kernels are slow.

torch fuses attention without dropout: it multiplies head by head in small blocks, and in bfloat16 setting a product up
takes longer than computing it. Here the products of several texts are one call, of so few texts that their attention
weights stay in the processor's cache, and in training the weights are kept from forward to backward.

For dropout, torch draws a double per element. Here one draw of 64 bits decides about four elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from hpo.training.library_internals import softmax_gradient

CACHE_ELEMENTS = 3 * 2**20  # attention weights computed at a time, 6 MB of bfloat16
# Attention weights of a layer in training, 128 MB; with more, torch's fused attention, which keeps none, is faster.
MAX_KEPT_ELEMENTS = 2**26
DROPOUT_LEVELS = 2**16  # values of a 16-bit draw; dropout's probability is rounded to one of them


class CpuKernels(TorchFunctionMode):
    """Compute attention and dropout with this module inside the block, if it supports the case; all else as usual."""

    def __init__(self) -> None:
        super().__init__()
        # The last mask and its additive form: all layers of a model get the same mask.
        self._mask: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self._kernels: dict[Any, Callable[..., Any]] = {scaled_dot_product_attention: self._attend, dropout: _drop}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = self._kernels[func](*args, **(kwargs or {})) if func in self._kernels else None
        return func(*args, **(kwargs or {})) if output is None else output

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
        """Compute scaled_dot_product_attention of the same arguments, or return None for an unsupported case.

        Supported is the attention of encoders: query, key and value of one shape, and a mask by which each token sees
        some other. If all tokens have the same query (see cls_only), attention is computed for one of them.
        """
        is_encoder = query.shape == key.shape == value.shape and query.dim() == 4 and query.numel() > 0
        if not is_encoder or query.device.type != "cpu" or dropout_p or is_causal or any(others.values()):
            return None
        full_query = query
        if query.stride(2) == 0 and _is_same_for_all(attn_mask):
            query = query[:, :, :1]
            attn_mask = attn_mask if attn_mask is None else attn_mask[:, :, :1]
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        output = self._attend_in_batches(query, key, value, attn_mask, scale)
        if output is None and query is not full_query:
            output = scaled_dot_product_attention(query, key, value, attn_mask, scale=scale)
        return output if output is None else output.expand_as(full_query)

    def _attend_in_batches(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float
    ) -> torch.Tensor | None:
        """Compute attention by products of several texts; None in other precisions and for other kinds of masks."""
        if not query.dtype == key.dtype == value.dtype == torch.bfloat16:
            return None
        keeps_weights = torch.is_grad_enabled() and query.requires_grad
        if keeps_weights and _weights_per_text(query, key) * len(query) > MAX_KEPT_ELEMENTS:
            return None
        if mask is not None:
            mask = self._to_additive(mask, query.dtype)
            if mask is None:
                return None
            mask = mask.expand(len(query), *mask.shape[1:])
        output: torch.Tensor = _BatchedAttention.apply(query, key, value, mask, scale)  # type: ignore[no-untyped-call]
        return output

    def _to_additive(self, mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | None:
        """Turn a boolean mask into one to add; None for other masks, and if a token sees nothing."""
        if mask.dtype != torch.bool or mask.dim() != 4:
            return None
        if self._mask is None or not self._mask[0].is_set_to(mask):
            additive = torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, -torch.inf)
            self._mask = mask, additive if mask.any(-1).all() else None
        return self._mask[1]


def _drop(states: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor | None:
    """Compute torch's dropout from other draws, or return None for an unsupported case."""
    dropped = round(p * DROPOUT_LEVELS)
    if not (training and 0 < dropped < DROPOUT_LEVELS and states.device.type == "cpu") or inplace:
        return None
    draws = torch.empty(-(-states.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    levels = draws.view(torch.int16)[: states.numel()].view(states.shape)
    kept = (levels >= dropped - DROPOUT_LEVELS // 2).to(states.dtype)
    return states * kept.mul_(DROPOUT_LEVELS / (DROPOUT_LEVELS - dropped))


class _BatchedAttention(torch.autograd.Function):
    """softmax(query key^T scale + mask) value, of shape (texts, heads, tokens, size); there may be fewer queries."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, mask: Any, scale: float) -> torch.Tensor:
        output, kept = torch.empty_like(query), []
        for part in _cache_sized_parts(query, key):
            scores = (query[part] @ key[part].transpose(2, 3)).mul_(scale)
            if mask is not None:
                scores += mask[part]
            weights = torch.softmax(scores, dim=-1)
            output[part] = weights @ value[part]
            if any(ctx.needs_input_grad):
                kept.append(weights)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.scale = scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        query, key, value, *kept = ctx.saved_tensors
        query_gradient, key_gradient, value_gradient = (torch.empty_like(tensor) for tensor in (query, key, value))
        for part, weights in zip(_cache_sized_parts(query, key), kept, strict=True):
            value_gradient[part] = weights.transpose(2, 3) @ gradient[part]
            weights_gradient = gradient[part] @ value[part].transpose(2, 3)
            scores_gradient = softmax_gradient(weights_gradient, weights)
            query_gradient[part] = scores_gradient @ key[part]
            key_gradient[part] = scores_gradient.transpose(2, 3) @ query[part]
        return query_gradient.mul_(ctx.scale), key_gradient.mul_(ctx.scale), value_gradient, None, None


def _is_same_for_all(mask: torch.Tensor | None) -> bool:
    """Return whether all querying tokens see the same tokens."""
    return mask is None or mask.dim() == 4 and bool((mask == mask[:, :, :1]).all())


def _weights_per_text(query: torch.Tensor, key: torch.Tensor) -> int:
    """Return the number of attention weights of one text."""
    return query.shape[1] * query.shape[2] * key.shape[2]


def _cache_sized_parts(query: torch.Tensor, key: torch.Tensor) -> Iterator[slice]:
    """Yield slices of texts whose attention weights fit into the processor's cache."""
    texts = max(1, CACHE_ELEMENTS // _weights_per_text(query, key))
    return (slice(start, start + texts) for start in range(0, len(query), texts))
