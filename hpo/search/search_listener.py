"""Callbacks for the progress of a search. Imports nothing heavy, so that the shell starts at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from hpo.search.budget import Budget


class SearchListener:
    """Receives the progress of a search. Every method does nothing by default."""

    def notice(self, text: str) -> None:
        """Receive a message for the user."""

    def opens(self, study: Study) -> None:
        """Receive the open study: a new one, or one with the trials of earlier sessions."""

    def runs(self, study: Study) -> None:
        """Receive the study now and then while workers in other processes run its trials."""

    def begins(self, number: int, values: Mapping[str, Any], budget: Budget) -> None:
        """Receive the number and the hyperparameters of a trial that starts."""

    def step(self, step: int, steps: int, loss: float | None) -> None:
        """Receive a finished optimizer step; without a loss, a batch was evaluated."""

    def rung(self, rung: int, value: float) -> None:
        """Receive the objective of the running trial at a rung."""

    def ends(self, trial: FrozenTrial, study: Study) -> None:
        """Receive a trial that has ended, whatever its outcome."""
