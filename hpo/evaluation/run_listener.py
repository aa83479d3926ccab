"""Callbacks of final runs. Nothing heavy is imported here, so that the shell starts quickly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class RunListener:
    """Receives the progress of final runs; the shell displays it. Override the methods that you need."""

    def notice(self, text: str) -> None:
        """Receive a message for the user."""

    def begins(self, system: str, seed: int) -> None:
        """Handle the start of a run."""

    def step(self, share: float, what: str) -> None:
        """Handle progress: the finished share of the run's present stage, and a description of that stage."""

    def ends(self, trial: FrozenTrial) -> None:
        """Handle the end of a run, successful or not."""

    def finds(self, trial: FrozenTrial) -> None:
        """Handle a run that is in the store already and is not repeated."""
