"""Flat attributes: what the dashboard's tables show of trials."""

from __future__ import annotations

from typing import Any

from optuna.trial import create_trial

from hpo.dashboard.flat_storage import flatten_attributes

PROVENANCE: dict[str, Any] = {"spec_hash": "0", "data": "1", "device": "cpu", "git": None, "versions": {}}
WORKER = {"host": "node", "pid": 1, "started": 0.0}


def flatten(attributes: dict[str, Any], rungs: dict[int, float] | None = None) -> dict[str, Any]:
    return flatten_attributes(create_trial(value=0.5, user_attrs=attributes, intermediate_values=rungs or {}))


def test_trial_has_short_attributes_and_the_metrics_of_its_last_rung() -> None:
    attributes = {
        "provenance": PROVENANCE,
        "worker": WORKER,
        "seed": 7,
        "place": 3,
        "seconds": {"wall": 1.23456789, "train": 1.0},
        "effective": {"learning_rate": 0.001, "optim": "adamw_torch"},
        "metrics": {"250": {"accuracy": 0.4}, "1000": {"accuracy": 0.5, "loss": 0.7}},
    }
    assert flatten(attributes, {250: 0.4, 1000: 0.5}) == {
        "seed": 7,
        "seconds_wall": 1.23457,
        "seconds_train": 1.0,
        "effective_learning_rate": 0.001,
        "effective_optim": "adamw_torch",
        "metric_accuracy": 0.5,
        "device": "cpu",
        "host": "node",
    }


def test_final_run_has_its_system_and_the_scores_of_both_splits() -> None:
    scores = {"metrics": {"accuracy": 0.5, "loss": 0.7}, "per_class": {}, "confusion": []}
    attributes = {
        "provenance": PROVENANCE,
        "run": {"kind": "retrain", "seed": 1, "train_on": "train", "values": {}},
        "system": "trial #3",
        "seed": 1,
        "trained_on": "train",
        "validation": scores,
        "test": scores,
        "predicted_per_second": 100.0,
    }
    assert flatten(attributes) == {
        "system": "trial #3",
        "seed": 1,
        "trained_on": "train",
        "predicted_per_second": 100.0,
        "validation_accuracy": 0.5,
        "test_accuracy": 0.5,
        "device": "cpu",
    }


def test_trial_of_another_program_keeps_its_attributes() -> None:
    attributes = {"metrics": 0.5, "seconds": "many", "nested": {"a": 1}}
    assert flatten(attributes) == attributes
