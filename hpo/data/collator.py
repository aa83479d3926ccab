"""Texts as tokens -> one batch: as long as its longest text, or rounded up, so that few lengths come up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


class PaddingCollator:
    """A collator: items with `input_ids`, and all or none with a label, become tensors of int64.

    `input_ids` and `attention_mask` are of shape (texts, tokens), `labels` of shape (texts,). The number of tokens is
    a multiple of `multiple`, or `most` where that is less; a text must not be longer than `most`. It gives what the
    tokenizer's own pad() gives, which goes through lists of Python numbers and takes thirty times as long.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, multiple: int = 1, most: int | None = None) -> None:
        self.token = int(tokenizer.pad_token_id)
        self.is_left = tokenizer.padding_side == "left"
        self.multiple, self.most = multiple, most

    def width(self, longest: int) -> int:
        """Tokens of a batch whose longest text has so many."""
        rounded = -(-longest // self.multiple) * self.multiple
        return rounded if self.most is None else max(longest, min(rounded, self.most))

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        import torch

        rows = [item["input_ids"] for item in items]
        width = self.width(max(map(len, rows)))
        ids = np.full((len(rows), width), self.token, dtype=np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            own = slice(width - len(row), width) if self.is_left else slice(len(row))
            ids[place, own], mask[place, own] = row, 1
        batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if "labels" in items[0]:
            batch["labels"] = torch.tensor([item["labels"] for item in items])
        return batch
