"""Tests of Checkpoint: reset between trials, float32 weights, labels of the head, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, set_seed

from hpo.errors import ModelError, SpecError
from hpo.study.spec import load_study
from hpo.study.spec_tables import ModelSpec
from hpo.training.checkpoint import Checkpoint, load_checkpoint, save_model
from hpo.training.model_fields import field_problem

TEXTS = ["a good film", "a bad film", "not a good film at all", "not bad"] * 4


def copy_state(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal_names(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    """Return the names of the tensors that are equal in two states."""
    return {name for name in one if torch.equal(one[name], other[name])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Save a checkpoint in half precision with a head for NEGATIVE and POSITIVE, as on the hub."""
    tiny = Checkpoint(ModelSpec(checkpoint="builtin:tiny", max_length=32), TEXTS, ("negative", "positive"))
    set_seed(1)
    model = tiny.fresh().half()
    model.config.id2label = {0: "NEGATIVE", 1: "POSITIVE"}
    save_model(model, tiny.tokenizer, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def load(folder: Path, *labels: str, max_length: int = 32) -> Checkpoint:
    return Checkpoint(ModelSpec(checkpoint=str(folder), max_length=max_length), TEXTS, labels)


def test_weights_are_float32_whatever_the_dtype_of_the_checkpoint(folder: Path) -> None:
    model = load(folder, "negative", "positive").fresh()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert BertForSequenceClassification.from_pretrained(folder).dtype == torch.float16


def test_fresh_resets_the_model_in_place_bit_for_bit(folder: Path) -> None:
    checkpoint = load(folder, "negative", "positive")
    first = checkpoint.fresh()
    before = copy_state(first)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1.0)
    again = checkpoint.fresh()
    assert again is first and equal_names(before, copy_state(again)) == set(before)


def test_head_for_other_labels_is_drawn_from_the_seed_with_a_notice(folder: Path) -> None:
    checkpoint = load(folder, "sport", "politics", "science")
    assert "each trial starts with a new random head for sport, politics, science" in checkpoint.notices[0]
    states = []
    for seed in (1, 1, 2):
        set_seed(seed)
        states.append(copy_state(checkpoint.fresh()))
    assert equal_names(states[0], states[1]) == set(states[0])
    assert {name.split(".")[0] for name in set(states[0]) - equal_names(states[0], states[2])} == {"classifier"}


def test_rows_of_the_head_follow_the_label_order_of_the_study(folder: Path) -> None:
    same_order, reversed_order = load(folder, "neg", "pos"), load(folder, "positive", "negative")
    one, other = same_order.fresh().classifier.weight, reversed_order.fresh().classifier.weight
    assert torch.equal(one, other.flip(0))
    assert not same_order.notices and "reordered the head's labels" in reversed_order.notices[0]
    assert reversed_order.config.id2label == {0: "positive", 1: "negative"}


def test_numbered_labels_are_matched_by_position(folder: Path) -> None:
    kept = load(folder, "0", "1")
    assert kept.has_head and kept.fresh().classifier.weight.shape == (2, 64)
    assert kept.assumed_labels == "0 = NEGATIVE, 1 = POSITIVE" and kept.assumed_labels in kept.notices[0]


def test_other_names_for_as_many_labels_do_not_match(folder: Path) -> None:
    assert "new random head" in load(folder, "cats", "dogs").notices[0]


def test_config_changes_reach_the_modules_and_are_undone(folder: Path) -> None:
    checkpoint = load(folder, "negative", "positive")
    changed = checkpoint.fresh({"hidden_dropout_prob": 0.25})
    assert 0.25 in {module.p for module in changed.modules() if isinstance(module, torch.nn.Dropout)}
    plain = checkpoint.fresh()
    assert {module.p for module in plain.modules() if isinstance(module, torch.nn.Dropout)} == {0.0}
    assert equal_names(copy_state(changed), copy_state(plain)) == set(copy_state(plain))


def test_unsuitable_config_fields_and_values_are_refused(folder: Path) -> None:
    checkpoint = load(folder, "negative", "positive")

    def problem(field: str, *values: Any) -> str | None:
        return field_problem(checkpoint.config, checkpoint.name, field, values)

    assert "did you mean hidden_dropout_prob" in (problem("hidden_dropout_prop", 0.1) or "")
    assert "must be int" in (problem("num_hidden_layers", 1.5) or "")
    assert "must be float" in (problem("hidden_dropout_prob", True) or "")
    assert "data and checkpoint decide" in (problem("num_labels", 3) or "")
    assert problem("hidden_dropout_prob", 0, 0.3) is None
    with pytest.raises(ModelError, match="does not fit the checkpoint's weights"):
        checkpoint.fresh({"hidden_size": 32})


def test_problems_of_a_checkpoint_are_one_clear_line(folder: Path, small: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="max_length is 99; .* takes at most"):
        load(folder, "negative", "positive", max_length=99)
    with pytest.raises(ModelError, match="hub cannot be reached and nothing is cached"):
        load(Path("nobody/no-such-model"), "a", "b")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match="no tokenizer next to the weights"):
        load(folder, "negative", "positive")
    BertConfig().save_pretrained(tmp_path / "bare")
    with pytest.raises(ModelError):
        load(tmp_path / "bare", "a", "b")


def test_checkpoint_path_is_relative_to_the_study_file(folder: Path, small: Path) -> None:
    from hpo.data.splits import load_splits

    spec = load_study(small, ("model.checkpoint='checkpoint'",))
    data = load_splits(spec.data, small.parent)
    assert load_checkpoint(spec, data).name == "checkpoint"
    axis = 'space.parameters={"model.dropout_prob"={low=0.0,high=0.1}}'
    with pytest.raises(SpecError, match="space.parameters.model.dropout_prob"):
        load_checkpoint(load_study(small, ("model.checkpoint='checkpoint'", axis)), data)
    with pytest.raises(ModelError, match="builtin:tinny is unknown; did you mean builtin:tiny"):
        load_checkpoint(load_study(small, ("model.checkpoint='builtin:tinny'",)), data)


def test_real_checkpoint_in_half_precision_is_loaded_in_float32(shared: Path) -> None:
    checkpoint = load(shared / "models" / "minilm-l6-sst2", "0", "1", max_length=128)
    assert checkpoint.fresh().dtype == torch.float32 and checkpoint.has_head
    headless = load(shared / "models" / "minilm-l6", "negative", "positive", max_length=128)
    assert "new random head" in headless.notices[0]
