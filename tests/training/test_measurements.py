"""Tests of RunMeasurements."""

from __future__ import annotations

import json

import pytest
from optuna import TrialPruned

from hpo.training.measurements import RunMeasurements, TrialEnded


def test_attributes_have_the_keys_that_stores_hold() -> None:
    measured = RunMeasurements({250: {"accuracy": 0.5}}, {"learning_rate": 0.1}, steps=3, examples=48, tokens=900)
    measured.seconds, measured.peak_memory = {"wall": 3.0, "train": 2.0, "evaluation": 1.0}, 10**9
    assert json.loads(json.dumps(measured.to_attributes())) == {
        "metrics": {"250": {"accuracy": 0.5}},
        "effective": {"learning_rate": 0.1},
        "seconds": {"wall": 3.0, "train": 2.0, "evaluation": 1.0},
        "steps": 3,
        "examples": 48,
        "tokens": 900,
        "peak_memory": 10**9,
    }
    measured.batch_split = 4
    assert measured.to_attributes()["batch_split"] == 4


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrialPruned(), "pruned: at rung 250"),
        (TrialEnded("diverged: the loss is not finite"), "diverged: the loss is not finite"),
        (KeyboardInterrupt(), "interrupted"),
        (ValueError("first line\nsecond line"), "error: ValueError: first line"),
    ],
)
def test_reason_begins_with_the_outcome(error: BaseException, reason: str) -> None:
    assert RunMeasurements({250: {"accuracy": 0.5}}).describe_end(error) == reason
