"""Tests of builtin:tiny."""

from __future__ import annotations

from hpo.training.tiny_model import build_tiny_model

TEXTS = ["a good film", "a bad film", "not a good film at all", "not bad"] * 4


def test_tokenizer_is_the_same_each_time() -> None:
    one, other = (build_tiny_model(TEXTS, max_length=32)[0] for _ in range(2))
    assert one.get_vocab() == other.get_vocab()
    assert one("A good film, unheard-of").input_ids == other("A good film, unheard-of").input_ids
    assert one.tokenize("good filmod") == ["good", "film", "##od"]
