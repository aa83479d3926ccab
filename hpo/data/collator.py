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
    `attention_mask` of shape (texts, tokens), `labels` of shape (texts,), and `token_type_ids` if the tokenizer gives
    a single text other types than 0 (XLNet, Funnel). The number of tokens is a multiple of `multiple`, but at most
    `max_length`; no text may be longer than that. The result equals that of the tokenizer's own pad(), which converts
    lists of Python numbers and takes thirty times as long.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, multiple: int = 1, max_length: int | None = None) -> None:
        self.pad_token = int(tokenizer.pad_token_id)
        self.pads_left = tokenizer.padding_side == "left"
        self.multiple, self.max_length = multiple, max_length
        self.token_types = read_token_types(tokenizer)
        self.pad_type = int(tokenizer.pad_token_type_id)

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
        if self.token_types:
            types = np.where(mask == 1, 0, self.pad_type)
            for token, token_type in self.token_types.items():
                types[(ids == token) & (mask == 1)] = token_type
            batch["token_type_ids"] = torch.from_numpy(types)
        if "labels" in items[0]:
            batch["labels"] = torch.tensor([item["labels"] for item in items])
        return batch


def read_token_types(tokenizer: PreTrainedTokenizerBase) -> dict[int, int]:
    """Return token -> type for those tokens to which the tokenizer gives another type than 0 in a single text.

    These are special tokens: the classification token of XLNet and Funnel has a type of its own.
    """
    if "token_type_ids" not in tokenizer.model_input_names:
        return {}
    encoded = tokenizer("a", return_token_type_ids=True)
    types = zip(encoded["input_ids"], encoded["token_type_ids"], strict=True)
    return {int(token): int(token_type) for token, token_type in types if token_type}
