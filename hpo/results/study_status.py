"""The status of a study: `StudyStatus`, which `hpo show` prints, and `TRIAL_COLUMNS`, the columns of its table.

Everything here works on `StudySnapshot`, which the SQLite reader fills without importing Optuna (its import alone takes
a second), so `hpo show` answers at once on a store with 10,000 trials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from hpo.results.formatting import format_duration, format_size, format_value
from hpo.results.study_outputs import StudyOutput, find_outputs
from hpo.search.budget import spent_seconds, stop_message
from hpo.store.optuna_internals import storage_of
from hpo.store.sqlite_reader import StudySnapshot, StudySummary, read_study, read_summaries
from hpo.store.storage import find_study, list_studies, load_stored_study, open_storage
from hpo.store.study_record import StudyRecord, companion_name
from hpo.store.trial_order import sign
from hpo.store.trial_record import TrialRecord
from hpo.store.trial_state import TrialView, count_outcomes, is_finished, is_superseded, outcome
from hpo.study.spec import StudySpec

if TYPE_CHECKING:
    from optuna import Study

Values = float | list[float] | None  # a list if the study has several objectives


class StatusRecord(BaseModel):
    """An immutable record whose dump is what `hpo show --json` prints; NaN and infinity stay as they are."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True, ser_json_inf_nan="constants")


class StudyRow(StatusRecord):
    """One study in the list of all studies of a store."""

    study: str
    objective: str
    trials: int
    best: float | None
    started: str | None


class TrialRow(StatusRecord):
    """One trial in the status of its study.

    The JSON keys `ending` and `endings` are older than the word *outcome*; programs read them, so they stay.
    """

    trial: int = Field(description="Number of the trial")
    outcome: str = Field(
        alias="ending", description="complete, running, waiting, paused, or why it ended without a value"
    )
    value: Values = Field(description="Objective on validation; null without a result")
    values: dict[str, Any] = Field(default_factory=dict, description="Hyperparameters as sampled")
    rung: int | None = Field(default=None, description="Last rung that was reached")
    best_at_any_rung: float | None = None
    metrics: dict[str, float] | None = Field(default=None, description="Validation scores at the last rung")
    effective: dict[str, Any] | None = Field(default=None, description="Values read back from the live run")
    seconds: float = Field(default=0.0, description="Wall time")
    peak_memory: int | None = Field(default=None, description="Bytes of the accelerator, or of the process without one")
    source: str | None = Field(default=None, description="Where a starting point was published")
    retry_of: int | None = None
    reason: str | None = Field(
        default=None, description="Why it ended, if it is not complete; where it was stopped, if it is paused"
    )


class StudyStatus(StatusRecord):
    """Budget, time, best trial and all trials of one study."""

    study: str
    objective: str
    objectives: list[str]
    direction: str
    finished: int
    wanted: int | None = Field(description="Budget of trials; null for a study that hpo did not create")
    state: str
    outcomes: dict[str, int] = Field(alias="endings", description="Outcome -> number of trials")
    seconds: float = Field(description="Wall time during which at least one trial ran")
    saved_by_pruning: float = Field(description="Share of the unpruned search's time that pruning saved")
    accelerations: dict[str, Any] | None = Field(description="Settings that training.speed chose")
    data: dict[str, Any] | None
    device: str | None
    best: TrialRow | None = Field(description="Null without a complete trial, or with several objectives")
    front: list[int] | None = Field(description="Trials of the Pareto front, if there are several objectives")
    trials: list[TrialRow] = Field(description="Complete trials first, the best on top")
    outputs: list[StudyOutput] = Field(default_factory=list, description="Verdict, model and report, if they exist")


@dataclass(frozen=True)
class TrialColumn:
    """One column of the table of trials that `hpo show` prints."""

    heading: str
    value: Callable[[TrialRow], Any]  # None for an empty cell
    format: Callable[[Any], str] = str
    is_text: bool = False  # text is aligned to the left, numbers to the right
    is_required: bool = False  # kept if the terminal is too narrow for all columns, or if all its cells are empty


def format_score(value: float) -> str:
    """Four decimals, or an integer as it is."""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


# Columns of every study, by name. `trial_columns` puts those of the objectives after the outcome, and those of the
# hyperparameters at the end.
TRIAL_COLUMNS: dict[str, TrialColumn] = {
    "trial": TrialColumn("#", lambda row: row.trial, is_required=True),
    "outcome": TrialColumn("outcome", lambda row: row.outcome, is_text=True, is_required=True),
    "rung": TrialColumn("rung", lambda row: row.rung),
    "seconds": TrialColumn("time", lambda row: row.seconds or None, format_duration),
    "memory": TrialColumn("memory", lambda row: row.peak_memory, format_size),
}
_COLUMNS_BEFORE_VALUES = ("trial", "outcome")


def trial_columns(rows: Sequence[TrialRow], objectives: Sequence[str]) -> list[TrialColumn]:
    """Return the columns for these trials, in order: TRIAL_COLUMNS, one per objective, one per hyperparameter."""
    first = [TRIAL_COLUMNS[name] for name in _COLUMNS_BEFORE_VALUES]
    others = [column for name, column in TRIAL_COLUMNS.items() if name not in _COLUMNS_BEFORE_VALUES]
    parameters = dict.fromkeys(name for row in rows for name in row.values)
    return [*first, *_value_columns(objectives), *others, *(_parameter_column(name) for name in parameters)]


def _value_columns(objectives: Sequence[str]) -> list[TrialColumn]:
    if len(objectives) == 1:
        return [TrialColumn("value", lambda row: row.value, format_score, is_required=True)]
    return [_objective_column(index, name) for index, name in enumerate(objectives)]


def _objective_column(index: int, name: str) -> TrialColumn:
    return TrialColumn(
        name,
        lambda row: row.value[index] if isinstance(row.value, list) else None,
        format_score,
        is_required=True,
    )


def _parameter_column(name: str) -> TrialColumn:
    return TrialColumn(name, lambda row: row.values.get(name), format_value)


def read_status(spec: StudySpec, url: str, most: int | None = None) -> StudyStatus:
    """Read the status of a study from its store; `most` as in `study_status`.

    Raises StoreError if there is no store, and StudyError if it has no such study.
    """
    stored = read_study(url, spec.name, rank_trials, most) or snapshot(load_stored_study(spec, url))
    outputs = find_outputs(spec, stored.companion, stored.last_complete)
    return study_status(stored, most).model_copy(update={"outputs": outputs})


def read_all_studies(url: str) -> list[StudyRow]:
    """Read one row per study of a store. Raises StoreError if there is no store."""
    summaries = read_summaries(url)
    return list_rows(summaries if summaries is not None else list_studies(open_storage(url, create=False)))


def list_rows(summaries: Sequence[StudySummary]) -> list[StudyRow]:
    """Return one row per study."""
    return [
        StudyRow(
            study=summary.name,
            objective=_objective(summary),
            trials=summary.trials,
            best=summary.best,
            started=f"{summary.started:%Y-%m-%d %H:%M:%S}" if summary.started else None,
        )
        for summary in summaries
    ]


def snapshot(stored: Study) -> StudySnapshot:
    """Convert a study that Optuna has read to what the SQLite reader returns."""
    directions = [direction.name.lower() for direction in stored.directions]
    names = stored.metric_names or [f"objective {index}" for index in range(len(directions))]
    objective = StudyRecord.from_attributes(stored.user_attrs).objective
    companion = find_study(storage_of(stored), companion_name(stored.study_name))
    trials = stored.get_trials(deepcopy=False)
    ended = [trial.datetime_complete for trial in trials if trial.datetime_complete and outcome(trial) == "complete"]
    return StudySnapshot(
        stored.study_name,
        stored.user_attrs,
        directions,
        [objective] if objective else list(names),
        rank_trials(trials, directions),
        sorted(trial.number for trial in stored.best_trials) if len(directions) > 1 else None,
        last_complete=max(ended).astimezone() if ended else None,
        companion=companion.user_attrs if companion else {},
    )


def study_status(stored: Study | StudySnapshot, most: int | None = None) -> StudyStatus:
    """Return the status of one study.

    With `most`, only that many of the first trials have all fields; the others have number, outcome, value and reason,
    which is all that the SQLite reader has read of them.
    """
    source = stored if isinstance(stored, StudySnapshot) else snapshot(stored)
    trials, study = source.trials, StudyRecord.from_attributes(source.attributes)
    records = [TrialRecord.from_trial(trial) for trial in trials]
    rows = [*map(_full_row, records[:most]), *(map(_short_row, records[most:]) if most is not None else [])]
    finished = sum(is_finished(trial) for trial in trials)
    wanted = study.spec["search"]["trials"] if study.spec else None
    outcomes = count_outcomes(trials)
    has_best = rows and rows[0].outcome == "complete" and len(source.directions) == 1
    return StudyStatus(
        study=source.name,
        objective=", ".join(source.objectives),
        objectives=source.objectives,
        direction=", ".join(source.directions),
        finished=finished,
        wanted=wanted,
        state=stop_message(source.attributes) or _state(outcomes, finished, wanted),
        outcomes=outcomes,
        seconds=round(spent_seconds(trials), 1),
        saved_by_pruning=_share_saved_by_pruning(records),
        accelerations=dict(study.accelerations) if study.accelerations is not None else None,
        data=asdict(study.data) if study.data else None,
        device=study.device,
        best=rows[0] if has_best else None,
        front=source.front,
        trials=rows,
    )


def rank_trials(trials: Sequence[TrialView], directions: Sequence[str]) -> list[TrialView]:
    """Sort trials for display: complete ones by value, then pruned, running, waiting and failed ones."""
    order = {"complete": 0, "pruned": 1, "running": 2, "paused": 3, "waiting": 4}
    factor = sign(directions[0]) if len(directions) == 1 else 1

    def sort_key(trial: TrialView) -> tuple[int, float]:
        value = _value(outcome(trial), trial.values)
        group = order.get(outcome(trial), len(order) + is_superseded(trial))
        return group, 0.0 if value is None or isinstance(value, list) else -factor * value

    return sorted(trials, key=sort_key)


def _objective(summary: StudySummary) -> str:
    objective = StudyRecord.from_attributes(summary.attributes).objective
    return objective or ("" if summary.directions == 1 else f"{summary.directions} objectives")


def _state(outcomes: Mapping[str, int], finished: int, wanted: int | None) -> str:
    if wanted is None:
        return "not created by hpo, so its budget is unknown"
    if "running" in outcomes:
        return "running, or its process was killed; hpo search finds out"
    return "finished" if finished >= wanted else "stopped; hpo search continues it"


def _short_row(trial: TrialRecord) -> TrialRow:
    return TrialRow(
        trial=trial.number,
        outcome=trial.outcome,
        value=_value(trial.outcome, trial.values),
        reason=trial.reason,
    )


def _full_row(trial: TrialRecord) -> TrialRow:
    return TrialRow(
        trial=trial.number,
        outcome=trial.outcome,
        value=_value(trial.outcome, trial.values),
        values=dict(trial.params),
        rung=trial.last_rung,
        best_at_any_rung=trial.best,
        metrics=dict(trial.last_scores) or None,
        effective=dict(trial.effective) or None,
        seconds=trial.seconds.wall,
        peak_memory=trial.peak_memory,
        source=trial.source,
        retry_of=trial.retry_of,
        reason=trial.pause or trial.reason,
    )


def _value(trial_outcome: str, values: Sequence[float] | None) -> Values:
    """Return the value or values of a trial that has a result."""
    if not values or trial_outcome not in {"complete", "pruned"}:
        return None
    return values[0] if len(values) == 1 else list(values)


def _share_saved_by_pruning(trials: Sequence[TrialRecord]) -> float:
    """Seconds that pruned trials did not run, as a share of the time that the search would have taken without pruning.

    A pruned trial is assumed to continue at the speed that it had.
    """
    saved = spent = 0.0
    for trial in trials:
        spent += trial.seconds.wall
        if trial.outcome == "pruned" and trial.steps and trial.planned_steps:
            saved += trial.seconds.wall * (trial.planned_steps / trial.steps - 1)
    total = spent + saved
    return round(saved / total, 4) if total else 0.0
