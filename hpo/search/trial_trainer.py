"""What a worker needs of the Trainer that runs its trials. Imports no torch, so that a worker can run without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hpo.training.measurements import RunMeasurements
from hpo.training.state_saver import StateSaver

if TYPE_CHECKING:
    from optuna import Trial

    from hpo.training.context import RunContext


class TrialTrainer(Protocol):
    """Runs trials of Trainer.hyperparameter_search. `RungTrainer` is the one that trains models."""

    measurements: RunMeasurements
    hp_space: Callable[[Trial], dict[str, Any]]  # set by hyperparameter_search
    on_rung: Callable[[int, dict[str, float], bool], None]
    on_progress: Callable[[int, int, float | None], None]
    notice: Callable[[str], None]

    def hyperparameter_search(self, **options: Any) -> Any:
        """Run a trial as transformers.Trainer does."""

    def run(self, values: Mapping[str, Any], seed: int, name: str, saver: StateSaver) -> RunMeasurements:
        """Train once with these values and this seed; continue from the saved state, if there is one."""

    def wall_seconds(self) -> float:
        """Return the seconds of the run so far."""

    def save_weights(self, folder: Path) -> None:
        """Write the weights of the last run."""


RunTrial = Callable[[TrialTrainer, "Trial"], float]
BuildTrainer = Callable[["RunContext", RunTrial], TrialTrainer]


def build_rung_trainer(context: RunContext, run_trial: RunTrial) -> TrialTrainer:
    """Return the trainer that trains models."""
    from hpo.training.trainer import RungTrainer

    return RungTrainer(context, run_trial)
