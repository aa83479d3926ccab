"""The trials as a data frame."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from hpo.results.trials_table import build_trials_table
from hpo.store.attributes import RunProvenance, Seconds, WorkerIdentity
from hpo.store.trial_record import TrialRecord

STARTED = datetime(2026, 3, 2, 9, 0)


def make_trial(number: int, **fields: Any) -> TrialRecord:
    """Return a complete trial."""
    defaults: dict[str, Any] = {
        "outcome": "complete",
        "state": "COMPLETE",
        "values": [0.5],
        "params": {"learning_rate": 0.001},
        "rungs": {500: 0.4, 1000: 0.5},
    }
    return TrialRecord(number=number, **defaults | fields)


def test_columns_are_named_after_what_they_hold() -> None:
    trial = make_trial(
        0,
        started=STARTED,
        completed=STARTED + timedelta(seconds=12),
        replay_index=0,
        seed=7,
        effective={"warmup_steps": 3},
        curve={1000: {"accuracy": 0.5, "f1": 0.4}},
        seconds=Seconds(12.0, 10.0, 2.0),
        best=0.5,
        best_rung=1000,
        steps=30,
        worker=WorkerIdentity("node", 42, 0.0),
        provenance=RunProvenance(device="cpu"),
        source="a paper",
    )
    row = build_trials_table([trial]).iloc[0].to_dict()
    assert row == {
        "number": 0,
        "state": "COMPLETE",
        "outcome": "complete",
        "value": 0.5,
        "rung": 1000,
        "params_learning_rate": 0.001,
        "effective_warmup_steps": 3,
        "metric_accuracy": 0.5,
        "metric_f1": 0.4,
        "seconds_wall": 12.0,
        "seconds_train": 10.0,
        "seconds_evaluation": 2.0,
        "replay_index": 0,
        "seed": 7,
        "best": 0.5,
        "best_rung": 1000,
        "steps": 30,
        "start": STARTED,
        "end": STARTED + timedelta(seconds=12),
        "source": "a paper",
        "device": "cpu",
        "host": "node",
        "process": 42,
    }


def test_columns_that_no_trial_fills_are_left_out() -> None:
    table = build_trials_table([make_trial(0, values=[], state="FAIL", outcome="killed"), make_trial(1)])
    assert set(table.columns) == {"number", "state", "outcome", "value", "rung", "params_learning_rate"}
    assert table["value"].isna().tolist() == [True, False]
    assert build_trials_table([]).empty


def test_several_objectives_have_a_column_each() -> None:
    table = build_trials_table([make_trial(0, values=[0.5, 2.0])], ["accuracy", "size"])
    assert table.loc[0, "value_accuracy"] == 0.5 and table.loc[0, "value_size"] == 2.0
