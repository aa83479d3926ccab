"""Predictions of a model for tokenized texts: batched by length, without gradients, in the order of the input."""

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
InferenceProgress = Callable[[int, int], None]  # takes texts done and texts in all; may raise to stop


class TokenizedTexts(Protocol):
    """Texts as tokens: each item has `input_ids`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


def to_accelerator(model: PreTrainedModel) -> PreTrainedModel:
    """Move the model to the accelerator, if there is one."""
    device = torch.accelerator.current_accelerator(check_available=True)
    return model if device is None else model.to(device)


def predict_probabilities(
    model: PreTrainedModel, tokenizer: Any, rows: TokenizedTexts, on_progress: InferenceProgress | None = None
) -> NDArray[Any]:
    """Return class probabilities as float64 of shape (rows, classes), in the order of the rows."""
    logits = forward_rows(model, tokenizer, rows, lambda output, mask: output.logits, on_progress)
    probabilities: NDArray[Any] = softmax(logits.astype(np.float64), axis=1)
    return probabilities


def mean_embeddings(
    model: PreTrainedModel, tokenizer: Any, rows: TokenizedTexts, on_progress: InferenceProgress | None = None
) -> NDArray[Any]:
    """Return the last hidden states of the model's body, averaged over each row's tokens: float32, (rows, hidden)."""

    def average_tokens(output: Any, mask: torch.Tensor) -> torch.Tensor:
        weights = mask.unsqueeze(-1).to(output.last_hidden_state.dtype)
        summed: torch.Tensor = (output.last_hidden_state * weights).sum(1)
        return summed / weights.sum(1)

    return forward_rows(model.base_model, tokenizer, rows, average_tokens, on_progress)


def forward_rows(
    model: Any,
    tokenizer: Any,
    rows: TokenizedTexts,
    select: Callable[[Any, torch.Tensor], torch.Tensor],
    on_progress: InferenceProgress | None = None,
) -> NDArray[Any]:
    """Return what `select` takes from the model's output and the attention mask, per row: float32, (rows, ...).

    Rows of similar length share a batch, so that little of it is padding. The longest come first, so that a batch that
    does not fit into memory fails at once.
    """
    lengths = [len(rows[index]["input_ids"]) for index in range(len(rows))]
    order = sorted(range(len(rows)), key=lambda index: -lengths[index])
    device, collate = next(model.parameters()).device, PaddingCollator(tokenizer)
    selected: NDArray[Any] | None = None
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), INFERENCE_BATCH):
            batch = order[start : start + INFERENCE_BATCH]
            texts = [{"input_ids": rows[index]["input_ids"]} for index in batch]
            inputs = {name: tensor.to(device) for name, tensor in collate(texts).items()}
            output = select(model(**inputs), inputs["attention_mask"]).float().cpu().numpy()
            if selected is None:
                selected = np.empty((len(order), *output.shape[1:]), dtype=np.float32)
            selected[batch] = output
            if on_progress is not None:
                on_progress(min(start + INFERENCE_BATCH, len(order)), len(order))
    assert selected is not None, "no rows"
    return selected
