"""A model's answers for texts: batched by length, without gradients, in the order of the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from transformers import PreTrainedModel

from hpo.data.collator import PaddingCollator

INFERENCE_BATCH = 32  # texts in a forward pass
InferenceProgress = Callable[[int, int], None]  # texts done, texts in all; may raise to stop


class TokenizedTexts(Protocol):
    """Texts as tokens: each item holds `input_ids`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


def to_accelerator(model: PreTrainedModel) -> PreTrainedModel:
    """The model on the accelerator, where there is one."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return model if device is None else model.to(device)


def predict_probabilities(
    model: PreTrainedModel, tokenizer: Any, rows: TokenizedTexts, pulse: InferenceProgress | None = None
) -> NDArray[Any]:
    """Class probabilities, float64 of shape (rows, classes), in the order of the rows."""
    logits = forward_rows(model, tokenizer, rows, lambda out, mask: out.logits, pulse)
    shares: NDArray[Any] = softmax(logits.astype(np.float64), axis=1)
    return shares


def mean_embeddings(
    model: PreTrainedModel, tokenizer: Any, rows: TokenizedTexts, pulse: InferenceProgress | None = None
) -> NDArray[Any]:
    """The last hidden states of the model's body, averaged over each row's tokens: float32, (rows, hidden size)."""

    def mean(out: Any, mask: torch.Tensor) -> torch.Tensor:
        weights = mask.unsqueeze(-1).to(out.last_hidden_state.dtype)
        summed: torch.Tensor = (out.last_hidden_state * weights).sum(1)
        return summed / weights.sum(1)

    return forward_rows(model.base_model, tokenizer, rows, mean, pulse)


def forward_rows(
    model: Any,
    tokenizer: Any,
    rows: TokenizedTexts,
    take: Callable[[Any, torch.Tensor], torch.Tensor],
    pulse: InferenceProgress | None = None,
) -> NDArray[Any]:
    """What `take` makes of the model's output and attention mask for each row: float32, (rows, ...).

    Rows of like length share a batch, so that little is padding; the longest come first, so that a batch that does not
    fit in memory is met at once.
    """
    lengths = [len(rows[index]["input_ids"]) for index in range(len(rows))]
    order = sorted(range(len(rows)), key=lambda index: -lengths[index])
    device, pad = next(model.parameters()).device, PaddingCollator(tokenizer)
    taken: NDArray[Any] | None = None
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), INFERENCE_BATCH):
            batch = order[start : start + INFERENCE_BATCH]
            texts = [{"input_ids": rows[index]["input_ids"]} for index in batch]
            padded = {name: tensor.to(device) for name, tensor in pad(texts).items()}
            out = take(model(**padded), padded["attention_mask"]).float().cpu().numpy()
            if taken is None:
                taken = np.empty((len(order), *out.shape[1:]), dtype=np.float32)
            taken[batch] = out
            if pulse is not None:
                pulse(min(start + INFERENCE_BATCH, len(order)), len(order))
    assert taken is not None, "no rows"
    return taken
