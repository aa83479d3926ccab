"""Who hears what a search does; light to import, so that the shell starts at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from hpo.search.budget import Budget


class SearchListener:
    """Hears what a search does; the shell shows it. Every method may be left as it is."""

    def notice(self, text: str) -> None:
        """Something the user should know."""

    def opens(self, study: Study) -> None:
        """The study is open: new, or with the trials of earlier sittings."""

    def runs(self, study: Study) -> None:
        """Workers elsewhere are at it; called now and then."""

    def begins(self, number: int, values: Mapping[str, Any], budget: Budget) -> None:
        """A trial starts."""

    def step(self, step: int, steps: int, loss: float | None) -> None:
        """An optimizer step is done; without a loss, a batch is evaluated."""

    def rung(self, rung: int, value: float) -> None:
        """A trial was evaluated."""

    def ends(self, trial: FrozenTrial, study: Study) -> None:
        """A trial ended, one way or another."""
