"""A checkpoint's trained head is used if its labels are those of the study, whatever their names and order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hpo.study.spec_tables import ModelSpec
from hpo.training.checkpoint import Checkpoint, save_model
from hpo.training.head_labels import match_labels

TEXTS = ["a good film", "a bad film", "not a good film at all", "not bad"] * 4


def save_head(folder: Path, labels: tuple[str, ...], id2label: dict[int, str] | None = None) -> Path:
    """Save a checkpoint with a trained head for these labels; `id2label` is what its config says about them."""
    tiny = Checkpoint(ModelSpec(checkpoint="builtin:tiny", max_length=32), TEXTS, labels)
    save_model(tiny.fresh(), tiny.tokenizer, folder)
    if id2label:
        config = json.loads((folder / "config.json").read_text())
        config["id2label"] = id2label
        config["label2id"] = {name: index for index, name in id2label.items()}
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def load(folder: Path, *labels: str) -> Checkpoint:
    return Checkpoint(ModelSpec(checkpoint=str(folder), max_length=32), [], labels)


@pytest.mark.parametrize(
    "labels",
    [
        tuple(str(number) for number in range(1, 11)),
        ("sports", "sports news"),
        ("neg", "negative", "not negative"),
        ("class_1", "class_10", "class_11"),
        ("A", "a"),
        ("-1", "-", "_"),
    ],
)
def test_model_saved_for_the_same_labels_keeps_its_head(tmp_path: Path, labels: tuple[str, ...]) -> None:
    folder = save_head(tmp_path / "saved", labels)
    checkpoint, turned = load(folder, *labels), load(folder, *reversed(labels))
    assert checkpoint.has_head and not checkpoint.notices
    assert torch.equal(turned.fresh().classifier.weight, checkpoint.fresh().classifier.weight.flip(0))


@pytest.mark.parametrize(
    ("head", "labels", "rows"),
    [
        (["NEGATIVE", "POSITIVE"], ["pos", "neg"], [1, 0]),
        (["Sports", "Sports News"], ["sports_news", "sports"], [1, 0]),
        (["LABEL_1", "LABEL_0"], ["0", "1"], [1, 0]),
        (["1", "0"], ["0", "1"], [1, 0]),
        (["10 stars", "1 star", "2 stars"], ["1", "2", "10"], [1, 2, 0]),
        (["not_entailment", "entailment"], ["entailment", "not entailment"], [1, 0]),
        (["neutral", "negative", "positive"], ["neg", "neu", "pos"], [1, 0, 2]),
    ],
)
def test_names_are_matched_from_equal_to_similar(head: list[str], labels: list[str], rows: list[int]) -> None:
    match = match_labels(head, labels)
    assert match and match.rows == rows and not match.is_assumed


@pytest.mark.parametrize(
    ("head", "labels"),
    [(["cat", "dog"], ["cat", "bird"]), (["po", "pos"], ["positive", "possible"]), (["x", "x"], ["x", "y"])],
)
def test_names_that_are_ambiguous_or_others_do_not_match(head: list[str], labels: list[str]) -> None:
    assert match_labels(head, labels) is None


@pytest.mark.parametrize("head", [["LABEL_0", "LABEL_1", "LABEL_2"], ["0", "1", "2"]])
def test_numbered_head_for_named_labels_is_an_assumption(head: list[str]) -> None:
    match = match_labels(head, ["1", "2", "3"])
    assert match and match.rows == [0, 1, 2] and match.is_assumed


@pytest.mark.parametrize("id2label", [{1: "down", 2: "up"}, {0: "down", 2: "up"}, {7: "down", 9: "up"}])
def test_head_whose_config_numbers_its_labels_otherwise_is_read_in_their_order(
    tmp_path: Path, id2label: dict[int, str]
) -> None:
    folder = save_head(tmp_path / "saved", ("down", "up"), id2label)
    checkpoint = load(folder, "up", "down")
    assert checkpoint.has_head
    assert torch.equal(
        checkpoint.fresh().classifier.weight, load(folder, "down", "up").fresh().classifier.weight.flip(0)
    )


def test_layer_as_wide_as_there_are_labels_is_not_taken_for_the_output(tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    labels = tuple(f"label {number}" for number in range(16))
    tokenizer = Checkpoint(ModelSpec(checkpoint="builtin:tiny", max_length=32), TEXTS, labels).tokenizer
    config = DistilBertConfig(vocab_size=len(tokenizer), dim=16, n_layers=1, n_heads=2, hidden_dim=16, num_labels=16)
    config.id2label = dict(enumerate(labels))
    saved = DistilBertForSequenceClassification(config)
    save_model(saved, tokenizer, tmp_path / "saved")
    model = load(tmp_path / "saved", *reversed(labels)).fresh()
    assert torch.equal(model.pre_classifier.weight, saved.pre_classifier.weight)
    assert torch.equal(model.classifier.weight, saved.classifier.weight.flip(0))
