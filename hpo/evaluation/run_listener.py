"""Who hears what final runs do; light to import, so that the shell starts at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class RunListener:
    """Hears what final runs do; the shell shows it. Every method may be left as it is."""

    def notice(self, text: str) -> None:
        """Something the user should know."""

    def begins(self, system: str, seed: int) -> None:
        """A run starts."""

    def step(self, share: float, what: str) -> None:
        """So much of the present stage of the run is done."""

    def ends(self, trial: FrozenTrial) -> None:
        """A run ended, one way or another."""

    def finds(self, trial: FrozenTrial) -> None:
        """A run that is asked for stands in the store already."""
