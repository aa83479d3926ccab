"""Predictions of a model for tokenized texts: batched by length, without gradients, in the order of the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from transformers import PreTrainedModel

from hpo.data.collator import PaddingCollator

INFERENCE_BATCH = 32  # texts in a forward pass
InferenceProgress = Callable[[int, int], None]  # takes texts done and texts in all; may raise to stop


class TransformerClassifier:
    """A model and its tokenizer as a classifier of texts; see `TextClassifier`."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, max_length: int | None) -> None:
        self.model = to_accelerator(model)
        self.tokenizer = tokenizer
        self.max_length = max_length

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, truncated as in training."""
        ids_only = {"return_attention_mask": False, "return_token_type_ids": False}
        encoded = self.tokenizer(list(texts), truncation=True, max_length=self.max_length, **ids_only)
        return list(encoded["input_ids"])

    def predict_probabilities(
        self, encoded: Sequence[list[int]], on_progress: InferenceProgress | None = None
    ) -> NDArray[Any]:
        """Return class probabilities (texts, classes)."""
        rows = [{"input_ids": ids} for ids in encoded]
        return predict_probabilities(self.model, self.tokenizer, rows, on_progress)


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
    """Return the last hidden states of the model's body, averaged over each row's tokens: float32, (rows, hidden).

    The whole model runs, because it knows how to call its body: T5's needs inputs of its decoder too.
    """
    states: list[torch.Tensor] = []

    def average_tokens(output: Any, mask: torch.Tensor) -> torch.Tensor:
        hidden = states.pop()
        shortened = -(-mask.shape[1] // hidden.shape[1])  # Funnel pools neighbouring tokens
        weights = mask[:, ::shortened][:, : hidden.shape[1]].unsqueeze(-1).to(hidden.dtype)
        summed: torch.Tensor = (hidden * weights).sum(1)
        return summed / weights.sum(1)

    hook = model.base_model.register_forward_hook(lambda module, inputs, output: states.append(output[0]))
    try:
        return forward_rows(model, tokenizer, rows, average_tokens, on_progress)
    finally:
        hook.remove()


def forward_rows(
    model: Any,
    tokenizer: Any,
    rows: TokenizedTexts,
    select: Callable[[Any, torch.Tensor], torch.Tensor],
    on_progress: InferenceProgress | None = None,
) -> NDArray[Any]:
    """Return what `select` takes from the model's output and the attention mask, per row: float32, (rows, ...).

    Rows of similar length share a batch, so that little of it is padding; only rows of equal length do if the model
    sees the padding. The longest come first, so that a batch that does not fit into memory fails at once.
    """
    lengths = [len(rows[index]["input_ids"]) for index in range(len(rows))]
    order = sorted(range(len(rows)), key=lambda index: -lengths[index])
    device, collate = next(model.parameters()).device, PaddingCollator(tokenizer)
    padded = PaddingCollator(tokenizer, multiple=max(lengths, default=1))

    def forward(batch: Sequence[int], collate: PaddingCollator = collate) -> NDArray[Any]:
        texts = [{"input_ids": rows[index]["input_ids"]} for index in batch]
        inputs = {name: tensor.to(device) for name, tensor in collate(texts).items()}
        output: NDArray[Any] = select(model(**inputs), inputs["attention_mask"]).float().cpu().numpy()
        return output

    selected: NDArray[Any] | None = None
    done = 0
    model.eval()
    with torch.inference_mode():
        is_visible = min(lengths) < max(lengths) and not is_same(forward(order[-1:]), forward(order[-1:], padded))
        for batch in _split_batches(order, lengths if is_visible else None):
            output = forward(batch)
            if selected is None:
                selected = np.empty((len(order), *output.shape[1:]), dtype=np.float32)
            selected[batch] = output
            done += len(batch)
            if on_progress is not None:
                on_progress(done, len(order))
    assert selected is not None, "no rows"
    return selected


def is_same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether two outputs are equal but for the rounding of products of another shape."""
    return bool(np.allclose(one, other, rtol=1e-5, atol=1e-5))


def _split_batches(order: Sequence[int], lengths: Sequence[int] | None) -> Iterator[list[int]]:
    """Yield the rows in batches; with `lengths`, only rows of equal length share one.

    That is for models that see the padding: FNet has no attention mask at all, ConvBERT's convolutions and Funnel's
    pooling reach into the padding. Otherwise a text's prediction would depend on the texts that share its batch.
    """
    groups = groupby(order, key=lengths.__getitem__) if lengths else [(0, iter(order))]
    for _, rows in groups:
        group = list(rows)
        for start in range(0, len(group), INFERENCE_BATCH):
            yield group[start : start + INFERENCE_BATCH]
