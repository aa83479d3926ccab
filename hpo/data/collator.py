"""Pad tokenized texts to batches of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


class PaddingCollator:
    """A collator for DataLoader that pads to the longest text, or to a multiple of tokens so that few lengths occur.

    Items have `input_ids`, and all or none of them `labels`. A batch has int64 tensors: `input_ids` and
    `attention_mask` of shape (texts, tokens), `labels` of shape (texts,). The number of tokens is a multiple of
    `multiple`, but at most `max_length`; no text may be longer than that. The result equals that of the tokenizer's own
    pad(), which converts lists of Python numbers and takes thirty times as long.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, multiple: int = 1, max_length: int | None = None) -> None:
        self.pad_token = int(tokenizer.pad_token_id)
        self.pads_left = tokenizer.padding_side == "left"
        self.multiple, self.max_length = multiple, max_length

    def width(self, longest: int) -> int:
        """Return the number of tokens to which a batch is padded, given those of its longest text."""
        rounded = -(-longest // self.multiple) * self.multiple
        return rounded if self.max_length is None else max(longest, min(rounded, self.max_length))

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        import torch

        rows = [item["input_ids"] for item in items]
        width = self.width(max(map(len, rows)))
        ids = np.full((len(rows), width), self.pad_token, dtype=np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            tokens = slice(width - len(row), width) if self.pads_left else slice(len(row))
            ids[index, tokens], mask[index, tokens] = row, 1
        batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if "labels" in items[0]:
            batch["labels"] = torch.tensor([item["labels"] for item in items])
        return batch
