"""Tests of the table SEARCHABLE itself; test_verification reads every field back from a live run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from transformers import TrainingArguments

from hpo.errors import SpecError
from hpo.search.preflight import check_spec
from hpo.study.spec import load_study
from hpo.training.searchable import SEARCHABLE, changes_forward_pass, changes_step_time


def test_fields_are_those_of_training_arguments_or_aliases_of_them() -> None:
    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    for name, row in SEARCHABLE.items():
        assert (row.alias_of or name) in fields
    assert {name: row.alias_of for name, row in SEARCHABLE.items() if row.alias_of} == {"warmup_ratio": "warmup_steps"}


def test_only_some_fields_change_the_forward_pass_or_the_time_of_a_step() -> None:
    names = [*SEARCHABLE, "model.hidden_dropout_prob"]
    assert {name for name in names if changes_forward_pass(name)} == {
        "label_smoothing_factor",
        "neftune_noise_alpha",
        "bf16",
        "fp16",
        "model.hidden_dropout_prob",
    }
    assert {name for name in names if changes_step_time(name)} == {"bf16", "fp16", "optim", "model.hidden_dropout_prob"}


@pytest.mark.parametrize("name", [name for name, row in SEARCHABLE.items() if row.minimum is not None])
def test_value_below_the_minimum_is_refused_before_the_first_trial(small: Path, name: str) -> None:
    minimum = SEARCHABLE[name].minimum
    assert minimum is not None
    below = 0 if minimum == 1 else minimum - 0.5
    small.write_text(small.read_text().partition("[training]")[0])  # it fixes two of the fields
    with pytest.raises(SpecError, match=f"{name} holds {below}, which is {below}; must be at least {minimum}"):
        check_spec(load_study(small, (f"space.parameters={{ {name} = {{ choices = [{below!r}] }} }}",)))
