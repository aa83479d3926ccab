"""The attributes of a stored study: StudyRecord."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from hpo.store.attributes import read_part, to_attributes
from hpo.study.overrides import public_overrides


@dataclass(frozen=True)
class DataSummary:
    """What a store holds of a study's data."""

    fingerprint: str
    rows: Mapping[str, int]  # split -> number of rows
    labels: Sequence[str]
    notices: Sequence[str] = ()


@dataclass(frozen=True)
class StoredVerdict:
    """The verdict of the last comparison, and when it was made (ISO 8601, UTC)."""

    sentence: str
    when: str


@dataclass(frozen=True)
class StopRequest:
    """What `hpo stop` has asked for. It stays in the store: workers compare it with what it was when they started."""

    search: str = ""  # another id with each request to end the search
    trials: Sequence[int] = ()  # numbers of the trials to end


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
    verdict: StoredVerdict | None = None  # of a companion study
    stop_request: StopRequest = StopRequest()

    @classmethod
    def from_attributes(cls, stored: Mapping[str, Any]) -> Self:
        """Read the user attributes of a study."""
        data, verdict = stored.get("data"), stored.get("verdict")
        return cls(
            spec=stored.get("spec"),
            identity=stored.get("identity"),
            data=DataSummary(data["fingerprint"], data["rows"], data.get("labels") or (), data.get("notices") or ())
            if data
            else None,
            accelerations=stored.get("speed"),
            device=stored.get("device"),
            spec_hash=stored.get("spec_hash"),
            # Version 0.1.0 stored a storage URL with its password if the key was written with blanks or quotes.
            overrides=public_overrides(stored.get("overrides") or []),
            git=stored.get("git"),
            versions=stored.get("versions") or {},
            seed=stored.get("seed"),
            stopped=stored.get("stopped"),
            verdict=StoredVerdict(verdict["sentence"], verdict["when"]) if verdict else None,
            stop_request=read_part(StopRequest, stored.get("stop_request")),
        )

    @property
    def is_ours(self) -> bool:
        """Whether hpo created the study; of any other, only what Optuna itself stores is known."""
        return self.spec is not None

    @property
    def quotes_texts(self) -> bool:
        """Whether texts of the data may be shown; stores of earlier versions do not say."""
        return bool(((self.spec or {}).get("report") or {}).get("texts", True))

    @property
    def objective(self) -> str | None:
        """The metric that the study optimizes, if hpo created it."""
        return str(self.spec["objective"]) if self.spec else None


def study_attributes(**values: Any) -> dict[str, Any]:
    """Return the attributes that store these fields of a StudyRecord, as `trial_attributes` does for a trial."""
    return to_attributes(StudyRecord, {"accelerations": "speed"}, values)


def companion_name(name: str) -> str:
    """Return the name of the companion study that holds a study's final runs; no study file can have such a name."""
    return f"{name}/final"
