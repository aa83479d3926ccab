"""One stored training run outside the search, of the winner or of a baseline: RunRecord and its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from hpo.store.attributes import (
    WORKER,
    Curve,
    RunProvenance,
    Seconds,
    WorkerIdentity,
    read_curve,
    read_part,
    to_attributes,
)
from hpo.store.trial_state import TrialView, outcome


@dataclass(frozen=True)
class SplitScores:
    """All scores of one run on one split."""

    metrics: Mapping[str, float]  # metric -> score, with `brier` and `ece`; undefined scores are left out
    per_class: Mapping[str, Mapping[str, float]]  # label -> precision, recall, f1, support
    confusion: Sequence[Sequence[int]]  # rows are true labels

    @classmethod
    def from_attribute(cls, stored: Mapping[str, Any] | None) -> Self | None:
        """Read `validation` or `test`; None if the run has no scores there."""
        return cls(stored["metrics"], stored["per_class"], stored["confusion"]) if stored else None

    def to_attribute(self) -> dict[str, Any]:
        """Return the scores as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class RunRecord:
    """One stored training run outside the search, of the winner or of a baseline."""

    number: int
    outcome: str
    value: float | None  # objective on validation; None if the run did not predict it
    key: Mapping[str, Any]  # what identifies the run: kind, seed, train_on, values, and source if hpo did not train it
    system: str  # `trial #3`, or a baseline's name
    seed: int
    started: datetime | None = None
    completed: datetime | None = None
    reason: str | None = None
    trained_on: str = "train"
    validation: SplitScores | None = None
    test: SplitScores | None = None
    seconds: Seconds = field(default_factory=Seconds)
    predictions_sha256: str | None = None  # of the file with the test predictions; earlier versions stored none
    predicted_per_second: float | None = None
    effective: Mapping[str, Any] = field(default_factory=dict)
    curve: Curve = field(default_factory=dict)
    steps: int | None = None
    examples: int | None = None
    tokens: int | None = None
    peak_memory: int | None = None
    batch_split: int | None = None
    examples_per_second: float | None = None
    steps_per_second: float | None = None
    worker: WorkerIdentity | None = None
    provenance: RunProvenance = field(default_factory=RunProvenance)

    @classmethod
    def from_trial(cls, trial: TrialView) -> Self:
        """Read a stored final run, which is a trial of the companion study."""
        stored = trial.user_attrs
        plain = {name: stored[name] for name in _PLAIN_RUN_FIELDS if stored.get(name) is not None}
        return cls(
            number=trial.number,
            outcome=outcome(trial),
            value=trial.values[0] if trial.values and stored.get("validation") else None,
            key=stored.get("run") or {},
            system=str(stored.get("system", "")),
            seed=int(stored.get("seed", 0)),
            started=trial.datetime_start,
            completed=getattr(trial, "datetime_complete", None),
            validation=SplitScores.from_attribute(stored.get("validation")),
            test=SplitScores.from_attribute(stored.get("test")),
            curve=read_curve(stored.get("metrics")),
            seconds=read_part(Seconds, stored.get("seconds")),
            worker=read_part(WorkerIdentity, worker) if (worker := stored.get(WORKER)) else None,
            provenance=read_part(RunProvenance, stored.get("provenance")),
            **plain,
        )

    @property
    def description(self) -> str | None:
        """What a baseline's name does not tell: `pretrained` used a linear probe, `nb-svm` character n-grams."""
        return self.effective.get("as")

    @property
    def source(self) -> str | None:
        """What a system was that hpo did not train: a checksum, or hub id and commit; else None."""
        return self.key.get("source")

    @property
    def is_retraining(self) -> bool:
        """Whether the run retrains a trial of the search; otherwise it belongs to a baseline."""
        return is_retrained_system(self.system)

    @property
    def is_complete(self) -> bool:
        """Whether the run succeeded and has scores."""
        return self.outcome == "complete"

    def scores_on(self, split: str) -> SplitScores | None:
        """Return the scores on `validation` or `test`, or None."""
        return {"validation": self.validation, "test": self.test}[split]


_PLAIN_RUN_FIELDS = (
    "reason",
    "trained_on",
    "predictions_sha256",
    "predicted_per_second",
    "effective",
    "steps",
    "examples",
    "tokens",
    "peak_memory",
    "batch_split",
    "examples_per_second",
    "steps_per_second",
)

_RETRAINED_PREFIX = "trial #"


def retrained_system(trial: int) -> str:
    """Return the name under which the runs that retrain a trial of the search are stored."""
    return f"{_RETRAINED_PREFIX}{trial}"


def is_retrained_system(system: str) -> bool:
    """Whether a system is a retrained trial of the search; otherwise it is a baseline."""
    return system.startswith(_RETRAINED_PREFIX)


def remaking_command(system: str) -> str:
    """Return the command that makes the missing or damaged runs of a system again."""
    return "hpo retrain STUDY" if is_retrained_system(system) else f"hpo baseline STUDY {system}"


_RUN_KEYS = {"key": "run", "curve": "metrics"}


def run_attributes(**values: Any) -> dict[str, Any]:
    """Return the attributes that store these fields of a RunRecord, as `trial_attributes` does for a trial."""
    return to_attributes(RunRecord, _RUN_KEYS, values)
