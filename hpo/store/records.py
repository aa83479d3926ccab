"""Typed records of what a store holds of a study, its trials and its final runs.

Optuna keeps everything but a trial's parameters, value and rungs in "user attributes", a dictionary with string keys.
Readers get a `TrialRecord`, a `RunRecord` or a `StudyRecord` from it, and writers get the attributes of some fields
from `trial_attributes` or `run_attributes`, so that a new attribute touches this module and nothing else (but see
`hpo.store.trial_state` for the few that all trials are counted by). Some stored keys are older than the name of the
field; they stay as they are, because stores written by earlier versions must still open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any, Self

from hpo.store.trial_state import TrialView, outcome, read_reason


@dataclass(frozen=True)
class Seconds:
    """Device time in seconds: the total, and the parts that were measured."""

    wall: float = 0.0
    train: float | None = None
    evaluation: float | None = None
    fit: float | None = None  # of a final run: one fit, for a fine-tuned model the same as wall
    predict: float | None = None  # of a final run: predicting validation and test

    @classmethod
    def from_attribute(cls, stored: Mapping[str, float] | None) -> Self:
        """Read the attribute `seconds`; the total is 0 if it was never written."""
        return cls(**{name: stored[name] for name in cls.__dataclass_fields__ if name in stored}) if stored else cls()

    def measured(self) -> dict[str, float]:
        """Return the parts that were measured, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class WorkerIdentity:
    """The process that ran a trial."""

    host: str
    pid: int
    started: float  # when the process was started, in seconds since the epoch; distinguishes reused process ids


@dataclass(frozen=True)
class RunProvenance:
    """Which code, versions, device and data produced one trial or final run."""

    spec_hash: str = ""
    data: str = ""  # fingerprint
    device: str = ""
    git: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_attribute(cls, stored: Mapping[str, Any] | None) -> Self:
        """Read the attribute `provenance`; empty if it was never written."""
        return cls(**{name: stored[name] for name in cls.__dataclass_fields__ if name in stored}) if stored else cls()


Curve = Mapping[int, Mapping[str, float]]  # rung -> metric -> score on validation


def _curve(stored: Mapping[str, Mapping[str, float]] | None) -> dict[int, Mapping[str, float]]:
    """Read scores per rung. JSON has no integer keys, so rungs are stored as text."""
    return {int(rung): scores for rung, scores in (stored or {}).items()}


def _worker(stored: Mapping[str, Any] | None) -> WorkerIdentity | None:
    return WorkerIdentity(stored["host"], stored["pid"], stored["started"]) if stored else None


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
    retry_of: int | None = None
    kills: int = 0  # how often earlier attempts were killed
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
            curve=_curve(stored.get("metrics")),
            seconds=Seconds.from_attribute(stored.get("seconds")),
            reason=read_reason(trial),
            worker=_worker(stored.get("worker")),
            provenance=RunProvenance.from_attribute(stored.get("provenance")),
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
    value: float | None  # objective on validation
    key: Mapping[str, Any]  # what identifies the run: kind, seed, train_on, values
    system: str  # `trial #3`, or a baseline's name
    seed: int
    started: datetime | None = None
    completed: datetime | None = None
    reason: str | None = None
    trained_on: str = "train"
    validation: SplitScores | None = None
    test: SplitScores | None = None
    seconds: Seconds = field(default_factory=Seconds)
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
            value=trial.values[0] if trial.values else None,
            key=stored.get("run") or {},
            system=str(stored.get("system", "")),
            seed=int(stored.get("seed", 0)),
            started=trial.datetime_start,
            completed=getattr(trial, "datetime_complete", None),
            validation=SplitScores.from_attribute(stored.get("validation")),
            test=SplitScores.from_attribute(stored.get("test")),
            curve=_curve(stored.get("metrics")),
            seconds=Seconds.from_attribute(stored.get("seconds")),
            worker=_worker(stored.get("worker")),
            provenance=RunProvenance.from_attribute(stored.get("provenance")),
            **plain,
        )

    @property
    def description(self) -> str | None:
        """What a `pretrained` baseline used: the checkpoint's own head, or a linear probe."""
        return self.effective.get("as")

    @property
    def is_retraining(self) -> bool:
        """Whether the run retrains a trial of the search; otherwise it belongs to a baseline."""
        return self.system.startswith("trial #")

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


@dataclass(frozen=True)
class DataSummary:
    """What a store holds of a study's data."""

    fingerprint: str
    rows: Mapping[str, int]  # split -> number of rows
    labels: Sequence[str]
    notices: Sequence[str] = ()


@dataclass(frozen=True)
class StudyRecord:
    """The attributes of a stored study. `spec` is None for a study that another program wrote."""

    spec: Mapping[str, Any] | None  # StudySpec.resolved()
    identity: Mapping[str, Any] | None  # StudySpec.identity()
    data: DataSummary | None
    accelerations: Mapping[str, Any] | None  # field -> value that training.speed chose; None in older studies
    device: str | None = None
    spec_hash: str | None = None
    overrides: Sequence[str] = ()
    git: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    stopped: Mapping[str, Any] | None = None  # set when search.stop ended the study: see search.stopping_rule

    @classmethod
    def from_attributes(cls, stored: Mapping[str, Any]) -> Self:
        """Read the user attributes of a study."""
        data = stored.get("data")
        return cls(
            spec=stored.get("spec"),
            identity=stored.get("identity"),
            data=DataSummary(data["fingerprint"], data["rows"], data.get("labels") or (), data.get("notices") or ())
            if data
            else None,
            accelerations=stored.get("speed"),
            device=stored.get("device"),
            spec_hash=stored.get("spec_hash"),
            overrides=stored.get("overrides") or (),
            git=stored.get("git"),
            versions=stored.get("versions") or {},
            seed=stored.get("seed"),
            stopped=stored.get("stopped"),
        )

    @property
    def is_ours(self) -> bool:
        """Whether hpo created the study; of any other, only what Optuna itself stores is known."""
        return self.spec is not None

    @property
    def objective(self) -> str | None:
        """The metric that the study optimizes, if hpo created it."""
        return str(self.spec["objective"]) if self.spec else None


_RUN_KEYS = {"key": "run", "curve": "metrics"}


def trial_attributes(**values: Any) -> dict[str, Any]:
    """Return the attributes that store these fields of a TrialRecord: key -> JSON value.

    A running trial writes its record in parts, as they become available. Raises TypeError for a name that is no field.
    """
    return _attributes(TrialRecord, _TRIAL_KEYS, values)


def run_attributes(**values: Any) -> dict[str, Any]:
    """Return the attributes that store these fields of a RunRecord, as `trial_attributes` does for a trial."""
    return _attributes(RunRecord, _RUN_KEYS, values)


def _attributes(record: type[Any], keys: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := values.keys() - {field.name for field in fields(record)}:
        raise TypeError(f"{record.__name__} has no field {', '.join(sorted(unknown))}")
    return {keys.get(name, name): _as_json(value) for name, value in values.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, Seconds):
        return value.measured()
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def study_attributes(**values: Any) -> dict[str, Any]:
    """Return the attributes that store these fields of a StudyRecord, as `trial_attributes` does for a trial."""
    return _attributes(StudyRecord, {"accelerations": "speed"}, values)


def write_attributes(owner: Any, attributes: Mapping[str, Any]) -> None:
    """Store attributes with a running trial or a study, each in a separate transaction."""
    for key, value in attributes.items():
        owner.set_user_attr(key, value)
