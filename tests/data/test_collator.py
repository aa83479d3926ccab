"""Batches equal those of the tokenizer's own padding; their lengths can be rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import DataCollatorWithPadding

from hpo.data.builtin_corpus import generate_reviews
from hpo.data.collator import PaddingCollator
from hpo.training.tiny_model import build_tiny_model


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    texts = generate_reviews(200, seed=0)[0]
    return build_tiny_model(texts, 32)[0]


def items(*lengths: int) -> list[dict[str, Any]]:
    draw = np.random.default_rng(0)
    return [{"input_ids": draw.integers(5, 90, length).astype(np.int32), "labels": length % 2} for length in lengths]


@pytest.mark.parametrize("side", ["right", "left"])
def test_batch_equals_that_of_the_tokenizers_own_padding(tokenizer: Any, side: str) -> None:
    tokenizer.padding_side = side
    theirs = DataCollatorWithPadding(tokenizer)(items(3, 7, 5))
    ours = PaddingCollator(tokenizer)(items(3, 7, 5))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor)


def test_items_without_labels_give_a_batch_without_labels(tokenizer: Any) -> None:
    assert PaddingCollator(tokenizer)([{"input_ids": [7, 8]}, {"input_ids": [9]}]).keys() == {
        "input_ids",
        "attention_mask",
    }


@pytest.mark.parametrize(("longest", "width"), [(1, 8), (8, 8), (9, 16), (17, 20), (20, 20)])
def test_length_is_rounded_up_to_a_multiple_but_not_beyond_the_maximum(
    tokenizer: Any, longest: int, width: int
) -> None:
    batch = PaddingCollator(tokenizer, multiple=8, max_length=20)(items(1, longest))
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, width)
    assert batch["attention_mask"].sum().item() == 1 + longest
