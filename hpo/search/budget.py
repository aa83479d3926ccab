"""Trials and wall time: what is spent, and what is left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpo.store.trial_state import TrialView, is_finished, outcome
from hpo.study.spec import SearchSpec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


STOPPED_ATTRIBUTE = "stopped"  # attribute of a study that search.stop has ended: expected gain, noise, complete trials
EXACT_ATTRIBUTE = "exact"  # attribute of a study: seconds that an example would take by the plain library's arithmetic
MIN_SECONDS = 1.0  # seconds that must be left for a trial to be worth its start


@dataclass
class Budget:
    """The trials and seconds that a study may have in all, over every sitting."""

    trials: int
    timeout: float | None
    spent_before: float = 0.0  # seconds of earlier sittings
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, search: SearchSpec, study: Study) -> Budget:
        """The study's budget, with what earlier sittings have spent."""
        return cls(search.trials, search.timeout, spent_seconds(study.get_trials(deepcopy=False)))

    def seconds_left(self) -> float | None:
        """Seconds until the study's time is up; None where it has no end."""
        if self.timeout is None:
            return None
        return self.timeout - self.spent_before - (time.monotonic() - self.started)

    def is_over(self) -> bool:
        """Whether the study's time is up."""
        left = self.seconds_left()
        return left is not None and left <= 0

    def has_room(self, trials: list[FrozenTrial]) -> bool:
        """Whether another trial may start: time is left, and finished and running ones do not fill the budget."""
        begun = sum(is_finished(trial) or outcome(trial) == "running" for trial in trials)
        return begun < self.trials and self.has_time()

    def has_time(self) -> bool:
        """Whether enough time is left to start a trial."""
        left = self.seconds_left()
        return left is None or left > MIN_SECONDS


def count_finished(trials: list[FrozenTrial]) -> int:
    """How many trials count towards the budget."""
    return sum(is_finished(trial) for trial in trials)


def spent_seconds(trials: Sequence[TrialView]) -> float:
    """Wall seconds in which at least one trial ran; what the trials themselves say, so a killed one's idle hours
    until it was found do not count."""
    spans = sorted(
        (trial.datetime_start.timestamp(), trial.datetime_start.timestamp() + trial.user_attrs["seconds"]["wall"])
        for trial in trials
        if trial.datetime_start is not None and "seconds" in trial.user_attrs
    )
    total, reached = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def stop_message(attributes: Mapping[str, Any]) -> str | None:
    """One line about a study that `search.stop = "noise"` has ended, from its attributes; else None."""
    found = attributes.get(STOPPED_ATTRIBUTE)
    if not found:
        return None
    return (
        f'stopped by search.stop = "noise" after {found["complete"]} complete trials: another is expected to gain '
        f'{found["expected"]:.2g} at most, and the noise is {found["noise"]:.2g}; search.stop = "none" goes on'
    )
