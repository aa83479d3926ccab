"""One stored trial of a search: TrialRecord, and how its fields are written and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from hpo.store.attributes import (
    Curve,
    RunProvenance,
    Seconds,
    TrialStop,
    WorkerIdentity,
    read_curve,
    read_part,
    to_attributes,
)
from hpo.store.trial_state import PAUSED, WORKER, TrialView, outcome, read_reason

# Field of TrialRecord -> the attribute that stores it, if the names differ.
_TRIAL_KEYS = {"replay_index": "place", "starting_point": "known_good", "drawn_by": "drawn", "curve": "metrics"}


@dataclass(frozen=True)
class TrialRecord:
    """One stored trial of a search. Everything but its number and outcome may be missing."""

    number: int
    outcome: str  # see trial_state.outcome
    values: Sequence[float]  # one per objective; empty without a result
    params: Mapping[str, Any]  # as sampled
    rungs: Mapping[int, float]  # rung -> reported objective
    started: datetime | None = None
    completed: datetime | None = None
    replay_index: int | None = None
    seed: int | None = None
    starting_point: int | None = None  # its index among the known_good entries of the search space
    source: str | None = None  # where that starting point was published
    drawn_by: str | None = None  # prior or sampler, if the study has a prior
    retry_of: int | None = None  # the trial that it repeats; earlier versions repeated trials that were stopped
    kills: int = 0  # how often the trials that it repeats were killed
    reason: str | None = None  # why it ended, if it is not complete
    traceback: str | None = None
    effective: Mapping[str, Any] = field(default_factory=dict)  # values read back from the live run
    curve: Curve = field(default_factory=dict)
    last: float | None = None  # objective at the last rung
    best: float | None = None  # objective at its best rung
    best_rung: int | None = None
    steps: int | None = None
    examples: int | None = None
    tokens: int | None = None
    peak_memory: int | None = None  # bytes
    batch_split: int | None = None  # number of parts that each device batch was split into to fit into memory
    seconds: Seconds = field(default_factory=Seconds)
    worker: WorkerIdentity | None = None
    stop: TrialStop | None = None  # when its worker last stopped or died before its end
    provenance: RunProvenance = field(default_factory=RunProvenance)
    is_ours: bool = True  # False for a trial that another program wrote
    state: str = ""  # Optuna's state of the trial, such as COMPLETE or FAIL

    @classmethod
    def from_trial(cls, trial: TrialView) -> Self:
        """Read a stored trial, from Optuna or from the SQLite reader."""
        stored = trial.user_attrs
        plain = {name: value for name, key in _PLAIN_TRIAL_KEYS if (value := stored.get(key)) is not None}
        return cls(
            number=trial.number,
            outcome=outcome(trial),
            values=list(trial.values or ()),
            params=trial.params,
            rungs=trial.intermediate_values,
            started=trial.datetime_start,
            completed=getattr(trial, "datetime_complete", None),
            curve=read_curve(stored.get("metrics")),
            seconds=read_part(Seconds, stored.get("seconds")),
            reason=read_reason(trial),
            worker=read_part(WorkerIdentity, worker) if (worker := stored.get(WORKER)) else None,
            stop=read_part(TrialStop, stop) if (stop := stored.get("stop")) else None,
            provenance=read_part(RunProvenance, stored.get("provenance")),
            is_ours=cls.is_hpo_trial(trial),
            state=trial.state.name,
            **plain,
        )

    @property
    def value(self) -> float | None:
        """The value of a trial with a single objective, or None."""
        return self.values[0] if len(self.values) == 1 else None

    @property
    def last_rung(self) -> int | None:
        """The last rung that was reached, or None."""
        return max(self.rungs, default=None)

    @property
    def last_scores(self) -> Mapping[str, float]:
        """All metrics on validation at the last rung; empty if no rung was reached."""
        return self.curve.get(self.last_rung, {}) if self.last_rung is not None else {}

    @property
    def pause(self) -> str | None:
        """Where a paused trial was stopped, or None if it is not paused."""
        if self.outcome != PAUSED:
            return None
        if self.stop is None or not self.stop.steps:
            return "before its first step"
        return f"at {self.stop.step / self.stop.steps:.0%}, step {self.stop.step} of {self.stop.steps}"

    @property
    def planned_steps(self) -> int | None:
        """Optimizer steps of the trial's complete schedule, or None if they were not stored."""
        return self.effective.get("max_steps")

    @staticmethod
    def is_hpo_trial(trial: TrialView) -> bool:
        """Whether hpo ran the trial. Other programs may use attributes of the same names for other things."""
        return "provenance" in trial.user_attrs


# Attributes by which trials are counted and ranked. Of trials that are not displayed only these are read: see
# sqlite_reader. Pruned trials need `effective` too, whose planned steps say how much time pruning saved.
SUMMARY_KEYS = ("seconds", "reason", "retry_of", "kills", "steps", "examples")
PRUNED_SUMMARY_KEY = "effective"
_PLAIN_TRIAL_FIELDS = (
    "replay_index",
    "seed",
    "starting_point",
    "source",
    "drawn_by",
    "retry_of",
    "kills",
    "traceback",
    "effective",
    "last",
    "best",
    "best_rung",
    "steps",
    "examples",
    "tokens",
    "peak_memory",
    "batch_split",
)

_PLAIN_TRIAL_KEYS = [(name, _TRIAL_KEYS.get(name, name)) for name in _PLAIN_TRIAL_FIELDS]


def read_field(trial: TrialView, name: str) -> Any:
    """Return one field of a TrialRecord, or None if it was not stored.

    Use it in loops over all trials that run whenever a trial starts: building a record takes 150 times as long.
    """
    return trial.user_attrs.get(_TRIAL_KEYS.get(name, name))


def trial_attributes(**values: Any) -> dict[str, Any]:
    """Return the attributes that store these fields of a TrialRecord: key -> JSON value.

    A running trial writes its record in parts, as they become available. Raises TypeError for a name that is no field.
    """
    return to_attributes(TrialRecord, _TRIAL_KEYS, values)
