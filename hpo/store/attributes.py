"""The attributes of trials, final runs and studies: their parts, and how fields of records become stored values.

Optuna keeps everything but a trial's parameters, value and rungs in "user attributes", a dictionary with string keys.
Readers get a `TrialRecord`, a `RunRecord` or a `StudyRecord` from it, and writers get the attributes of some fields
from `trial_attributes`, `run_attributes` or `study_attributes`, each in the module of its record, so that a new
attribute touches one module (but see `hpo.store.trial_state` for the few that all trials are counted by). Some stored
keys are older than the name of the field; they stay, because stores written by earlier versions must still open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

Part = TypeVar("Part")


@dataclass(frozen=True)
class Seconds:
    """Device time in seconds: the total, and the parts that were measured."""

    wall: float = 0.0
    train: float | None = None
    evaluation: float | None = None
    saving: float | None = None  # writing the state from which the run continues after a kill
    earlier: float | None = None  # part of the total that earlier workers have spent
    fit: float | None = None  # of a final run: one fit, for a fine-tuned model the same as wall
    predict: float | None = None  # of a final run: predicting validation and test

    def measured(self) -> dict[str, float]:
        """Return the parts that were measured, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class WorkerIdentity:
    """The process that ran a trial."""

    host: str  # host name and process id are for people; earlier versions recognized a process by them
    pid: int
    started: float  # when the process was started, in seconds since the epoch; distinguishes reused process ids
    id: str = ""  # random; the name of the worker's lock file
    boot: str | None = None  # the running kernel, if its locks tell whether the worker is alive
    locks: str | None = None  # the folder of the lock file, as the kernel knows it


@dataclass(frozen=True)
class TrialStop:
    """How far a trial was when its worker stopped or died, and how often that happened without progress."""

    step: int = 0
    steps: int = 0  # of its schedule; 0 if it had not begun to train
    seconds: float = 0.0  # wall seconds of the trial up to then
    position: int = 0  # batches evaluated after that step
    deaths: int = 0  # workers in a row that died at this step and position


@dataclass(frozen=True)
class RunProvenance:
    """Which code, versions, device and data produced one trial or final run."""

    spec_hash: str = ""
    data: str = ""  # fingerprint
    device: str = ""
    git: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def read_part(part: type[Part], stored: Mapping[str, Any] | None) -> Part:
    """Read a dataclass of this module from its attribute; what was never written keeps its default."""
    names = {field.name for field in fields(part)}  # type: ignore[arg-type]
    return part(**{name: value for name, value in (stored or {}).items() if name in names})


Curve = Mapping[int, Mapping[str, float]]  # rung -> metric -> score on validation


def read_curve(stored: Mapping[str, Mapping[str, float]] | None) -> dict[int, Mapping[str, float]]:
    """Read scores per rung. JSON has no integer keys, so rungs are stored as text."""
    return {int(rung): scores for rung, scores in (stored or {}).items()}


def to_attributes(record: type[Any], keys: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that store these fields of a record: key -> JSON value.

    `keys` has the keys that differ from the name of the field. Raises TypeError for a name that is no field.
    """
    if unknown := values.keys() - {field.name for field in fields(record)}:
        raise TypeError(f"{record.__name__} has no field {', '.join(sorted(unknown))}")
    return {keys.get(name, name): _as_json(value) for name, value in values.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, Seconds):
        return value.measured()
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def write_attributes(owner: Any, attributes: Mapping[str, Any]) -> None:
    """Store attributes with a running trial or a study, each in a separate transaction."""
    for key, value in attributes.items():
        owner.set_user_attr(key, value)
