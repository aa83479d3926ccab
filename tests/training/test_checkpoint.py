"""A checkpoint becomes the same model again and again, in float32, with the study's labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, set_seed

from hpo.errors import ModelError, SpecError
from hpo.study.spec import ModelSpec, load_study
from hpo.training.checkpoint import Checkpoint, load_checkpoint, save_model

TEXTS = ["a good film", "a bad film", "not a good film at all", "not bad"] * 4


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in one if torch.equal(one[name], other[name])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint in half precision with a head for negative and positive, as hubs have them."""
    tiny = Checkpoint(ModelSpec(checkpoint="builtin:tiny", max_length=32), TEXTS, ("negative", "positive"))
    set_seed(1)
    model = tiny.fresh().half()
    model.config.id2label = {0: "NEGATIVE", 1: "POSITIVE"}
    save_model(model, tiny.tokenizer, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def opened(folder: Path, *labels: str, max_length: int = 32) -> Checkpoint:
    return Checkpoint(ModelSpec(checkpoint=str(folder), max_length=max_length), TEXTS, labels)


def test_masters_are_float32_whatever_the_checkpoint_is(folder: Path) -> None:
    model = opened(folder, "negative", "positive").fresh()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert BertForSequenceClassification.from_pretrained(folder).dtype == torch.float16


def test_it_is_reset_in_place_to_the_last_bit(folder: Path) -> None:
    checkpoint = opened(folder, "negative", "positive")
    first = checkpoint.fresh()
    before = state(first)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1.0)
    again = checkpoint.fresh()
    assert again is first and same(before, state(again)) == set(before)


def test_a_head_for_other_labels_is_drawn_anew_from_the_seed_with_a_notice(folder: Path) -> None:
    checkpoint = opened(folder, "sport", "politics", "science")
    assert "a head for sport, politics, science is drawn anew" in checkpoint.notices[0]
    states = []
    for seed in (1, 1, 2):
        set_seed(seed)
        states.append(state(checkpoint.fresh()))
    assert same(states[0], states[1]) == set(states[0])
    assert {name.split(".")[0] for name in set(states[0]) - same(states[0], states[2])} == {"classifier"}


def test_rows_of_the_head_follow_the_studys_label_order(folder: Path) -> None:
    straight, turned = opened(folder, "neg", "pos"), opened(folder, "positive", "negative")
    one, other = straight.fresh().classifier.weight, turned.fresh().classifier.weight
    assert torch.equal(one, other.flip(0))
    assert not straight.notices and "study's order" in turned.notices[0]
    assert turned.config.id2label == {0: "positive", 1: "negative"}


def test_numbers_as_labels_stand_for_positions(folder: Path) -> None:
    kept = opened(folder, "0", "1")
    assert not kept.notices and kept.fresh().classifier.weight.shape == (2, 64)


def test_other_names_for_as_many_labels_are_no_match(folder: Path) -> None:
    assert "drawn anew" in opened(folder, "cats", "dogs").notices[0]


def test_config_changes_reach_the_modules_and_nothing_stays(folder: Path) -> None:
    checkpoint = opened(folder, "negative", "positive")
    changed = checkpoint.fresh({"hidden_dropout_prob": 0.25})
    assert 0.25 in {module.p for module in changed.modules() if isinstance(module, torch.nn.Dropout)}
    plain = checkpoint.fresh()
    assert {module.p for module in plain.modules() if isinstance(module, torch.nn.Dropout)} == {0.0}
    assert same(state(changed), state(plain)) == set(state(plain))


def test_what_a_config_field_cannot_be(folder: Path) -> None:
    checkpoint = opened(folder, "negative", "positive")
    assert "did you mean hidden_dropout_prob" in (checkpoint.reason_against("hidden_dropout_prop", [0.1]) or "")
    assert "must be int" in (checkpoint.reason_against("num_hidden_layers", [1.5]) or "")
    assert "data and checkpoint decide" in (checkpoint.reason_against("num_labels", [3]) or "")
    assert checkpoint.reason_against("hidden_dropout_prob", [0, 0.3]) is None
    with pytest.raises(ModelError, match="does not fit the checkpoint's weights"):
        checkpoint.fresh({"hidden_size": 32})


def test_clear_errors(folder: Path, small: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="max_length is 99; .* takes at most"):
        opened(folder, "negative", "positive", max_length=99)
    with pytest.raises(ModelError, match="hub cannot be reached and nothing is cached"):
        opened(Path("nobody/no-such-model"), "a", "b")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match="no tokenizer beside the weights"):
        opened(folder, "negative", "positive")
    BertConfig().save_pretrained(tmp_path / "bare")
    with pytest.raises(ModelError):
        opened(tmp_path / "bare", "a", "b")


def test_a_study_names_its_checkpoint_relative_to_its_file(folder: Path, small: Path) -> None:
    from hpo.data.splits import load_splits

    spec = load_study(small, ("model.checkpoint='checkpoint'",))
    data = load_splits(spec.data, small.parent)
    assert load_checkpoint(spec, data).name == "checkpoint"
    axis = 'space.parameters={"model.dropout_prob"={low=0.0,high=0.1}}'
    with pytest.raises(SpecError, match="space.parameters.model.dropout_prob"):
        load_checkpoint(load_study(small, ("model.checkpoint='checkpoint'", axis)), data)
    with pytest.raises(ModelError, match="builtin:tinny is unknown; did you mean builtin:tiny"):
        load_checkpoint(load_study(small, ("model.checkpoint='builtin:tinny'",)), data)


def test_real_weights_in_half_precision(shared: Path) -> None:
    checkpoint = opened(shared / "models" / "minilm-l6-sst2", "0", "1", max_length=128)
    assert checkpoint.fresh().dtype == torch.float32 and not checkpoint.notices
    headless = opened(shared / "models" / "minilm-l6", "negative", "positive", max_length=128)
    assert "drawn anew" in headless.notices[0]
