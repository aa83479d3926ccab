"""What the methods of `hpo.Study` return and `--json` prints: small records of retraining, baselines and exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from hpo.evaluation.comparison_result import ComparisonResult
from hpo.store.run_record import RunRecord, retrained_system


class ResultRecord(BaseModel):
    """An immutable record; `model_dump_json()` is what `--json` prints."""

    model_config = ConfigDict(frozen=True)


class RetrainResult(ResultRecord):
    """The winner after retraining, and the run whose model is in the model folder."""

    study: str
    trial: int = Field(description="Number of the winning trial")
    values: dict[str, Any] = Field(description="Its hyperparameters")
    seed: int = Field(description="Seed of the run whose model was kept")
    trained_on: str = Field(description='"train" or "train+validation"')
    objective: str
    validation: float | None = Field(description="The run's objective on validation")
    model_folder: Path

    @property
    def system(self) -> str:
        """The name of the winner's runs in the store."""
        return retrained_system(self.trial)


class BaselineRun(ResultRecord):
    """One run of a baseline. Scores on test are left to `hpo compare`, which records each use of the test split."""

    run: int = Field(description="Number of the run in the companion study")
    seed: int
    outcome: str
    reason: str | None = Field(description="Why it did not complete")
    validation: dict[str, float] | None = Field(description="Metric -> score on validation")
    fit_seconds: float | None
    predicted_per_second: float | None

    @classmethod
    def from_run(cls, run: RunRecord) -> Self:
        """Select what may be shown of a run before the comparison."""
        return cls(
            run=run.number,
            seed=run.seed,
            outcome=run.outcome,
            reason=run.reason,
            validation=dict(run.validation.metrics) if run.validation else None,
            fit_seconds=run.seconds.fit,
            predicted_per_second=run.predicted_per_second,
        )


class BaselinesResult(ResultRecord):
    """The runs of all requested baselines."""

    study: str
    objective: str
    baselines: dict[str, list[BaselineRun]]

    @classmethod
    def from_runs(cls, study: str, objective: str, runs: Mapping[str, Sequence[RunRecord]]) -> Self:
        """Build the result from baseline -> runs."""
        baselines = {name: [BaselineRun.from_run(run) for run in of_name] for name, of_name in runs.items()}
        return cls(study=study, objective=objective, baselines=baselines)


class RunResult(ResultRecord):
    """What `hpo run` has produced."""

    study: str
    finished: int = Field(description="Finished trials of the search")
    winner: RetrainResult
    comparison: ComparisonResult | None = Field(description="Null if there is nothing to compare; see `note`")
    note: str = Field(description="Why there is no comparison, else empty")
    report: Path


class ExportResult(ResultRecord):
    """An exported file or folder."""

    study: str
    format: str
    path: Path
    url: str | None = Field(description="The repository on the Hugging Face hub, if it was uploaded")
