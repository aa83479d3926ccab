"""The status of a study, and the columns of the table that `hpo show` prints."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from typing import Any

import optuna
import pytest

from hpo.results.study_status import TRIAL_COLUMNS, TrialColumn, TrialRow, rank_trials, study_status, trial_columns
from hpo.store.sqlite_reader import StateName, StoredTrial, StudySnapshot

STARTED = datetime(2026, 3, 2, 9, 0)


def make_trial(number: int, value: float | None = None, reason: str = "", **attributes: Any) -> StoredTrial:
    """Return a stored trial: complete with a value, pruned with reason "pruned", failed with any other."""
    state = {"": "COMPLETE", "pruned": "PRUNED"}.get(reason.partition(":")[0], "FAIL")
    stored = {"seconds": {"wall": 10.0}, "provenance": {}, **({"reason": reason} if reason else {}), **attributes}
    return StoredTrial(
        number,
        StateName[state],
        STARTED + timedelta(seconds=10 * number),
        None if value is None else [value],
        {"learning_rate": 0.001 * (number + 1), "optim": "adamw_torch"},
        {} if value is None else {500: value, 1000: value},
        stored,
    )


def make_snapshot(trials: list[StoredTrial], wanted: int = 4) -> StudySnapshot:
    """Return a study with these trials as the SQLite reader does."""
    spec = {"objective": "accuracy", "search": {"trials": wanted}}
    attributes = {"spec": spec, "speed": {"bf16": True}, "device": "cpu"}
    return StudySnapshot("small", attributes, ["maximize"], ["accuracy"], rank_trials(list(trials), ["maximize"]), None)


TRIALS = [
    make_trial(0, 0.8, best=0.85, metrics={"1000": {"accuracy": 0.8}}, effective={"max_steps": 100}),
    make_trial(1, 0.9, peak_memory=640_000_000),
    make_trial(2, 0.5, "pruned: at rung 500", steps=50, effective={"max_steps": 100}),
    make_trial(3, None, "diverged: the loss is nan at step 3"),
]


def test_status_counts_and_ranks_trials() -> None:
    status = study_status(make_snapshot(TRIALS))
    assert [row.trial for row in status.trials] == [1, 0, 2, 3]
    assert status.best == status.trials[0] and status.best and status.best.value == 0.9
    assert status.outcomes == {"complete": 2, "diverged": 1, "pruned": 1}
    assert (status.finished, status.wanted, status.state) == (4, 4, "finished")
    assert status.seconds == 40.0 and status.accelerations == {"bf16": True}
    assert status.saved_by_pruning == pytest.approx(10 / 50), "the pruned trial would have run 10 s more"
    first = status.trials[1]
    assert (first.rung, first.best_at_any_rung, first.metrics) == (1000, 0.85, {"accuracy": 0.8})
    assert status.trials[3].reason == "diverged: the loss is nan at step 3" and status.trials[3].value is None


def test_unfinished_study_says_how_to_continue() -> None:
    status = study_status(make_snapshot(TRIALS, wanted=10))
    assert (status.finished, status.wanted, status.state) == (4, 10, "stopped; hpo search continues it")


def test_json_keys_are_those_of_version_0_1() -> None:
    status = json.loads(study_status(make_snapshot(TRIALS)).model_dump_json())
    assert status["endings"] == {"complete": 2, "diverged": 1, "pruned": 1}
    assert list(status["trials"][0]) == [
        "trial",
        "ending",
        "value",
        "values",
        "rung",
        "best_at_any_rung",
        "metrics",
        "effective",
        "seconds",
        "peak_memory",
        "source",
        "retry_of",
        "reason",
    ]
    assert "saved_by_levers" not in status and "speed" not in status


def test_json_keeps_values_that_are_not_finite() -> None:
    status = study_status(make_snapshot([make_trial(0, math.inf), make_trial(1, math.nan)]))
    values = {row["trial"]: row["value"] for row in json.loads(status.model_dump_json())["trials"]}
    assert values[0] == math.inf and math.isnan(values[1])


def test_only_the_first_trials_are_complete_rows() -> None:
    full, short = study_status(make_snapshot(TRIALS)), study_status(make_snapshot(TRIALS), most=1)
    assert short.trials[0] == full.trials[0] and short.best == full.best
    for row, expected in zip(short.trials[1:], full.trials[1:], strict=True):
        assert row == TrialRow(
            trial=expected.trial, outcome=expected.outcome, value=expected.value, reason=expected.reason
        )


def test_columns_come_in_order_and_format_their_cells() -> None:
    rows = study_status(make_snapshot(TRIALS)).trials
    columns = trial_columns(rows, ["accuracy"])
    assert [column.heading for column in columns] == [
        "#",
        "outcome",
        "value",
        "rung",
        "time",
        "memory",
        "learning_rate",
        "optim",
    ]
    cells = [column.format(value) for column in columns if (value := column.value(rows[0])) is not None]
    assert cells == ["1", "complete", "0.9000", "1000", "10 s", "640 MB", "0.002", "adamw_torch"]
    empty = [column.heading for column in columns if column.value(rows[3]) is None]
    assert empty == ["value", "rung", "memory"]


def test_column_is_one_row_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRIAL_COLUMNS, "best", TrialColumn("best", lambda row: row.best_at_any_rung, "{:.2f}".format))
    rows = study_status(make_snapshot(TRIALS)).trials
    columns = {column.heading: column for column in trial_columns(rows, ["accuracy"])}
    assert columns["best"].format(columns["best"].value(rows[1])) == "0.85"


def test_study_of_another_program_has_its_values_per_objective() -> None:
    study = optuna.create_study(study_name="foreign", directions=["maximize", "minimize"])
    for pair in ([0.5, 2.0], [0.7, 3.0], [0.4, 4.0]):
        study.add_trial(optuna.trial.create_trial(values=pair))
    status = study_status(study)
    assert status.wanted is None and status.state == "not created by hpo, so its budget is unknown"
    assert status.best is None and status.front == [0, 1]
    columns = trial_columns(status.trials, status.objectives)
    assert [column.heading for column in columns[:4]] == ["#", "outcome", "objective 0", "objective 1"]
    assert [columns[3].value(row) for row in status.trials] == [2.0, 3.0, 4.0]
