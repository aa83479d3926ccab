"""The budget of a study: how many trials and seconds are spent, how many are left, and why a search ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpo.store.study_record import StudyRecord
from hpo.store.trial_state import TrialView, earlier_seconds, is_finished, outcome, wall_seconds
from hpo.study.spec import StudySpec
from hpo.study.spec_tables import SearchSpec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


MIN_SECONDS = 1.0  # a trial is not started with less time than this


@dataclass(frozen=True)
class ExpectedGain:
    """Expected gain of another trial, and the noise that it must exceed, both in units of the objective."""

    expected: float
    noise: float
    complete: int  # complete trials that both were computed from


@dataclass
class Budget:
    """The trials and seconds that a study may use over all its sessions."""

    trials: int
    timeout: float | None
    spent_before: float = 0.0  # seconds of earlier sessions
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, search: SearchSpec, study: Study) -> Budget:
        """Return the budget of a study, less the time that earlier sessions have spent."""
        return cls(search.trials, search.timeout, spent_seconds(study.get_trials(deepcopy=False)))

    def seconds_left(self) -> float | None:
        """Return the seconds until the timeout, or None without one."""
        if self.timeout is None:
            return None
        return self.timeout - self.spent_before - (time.monotonic() - self.started)

    def is_over(self) -> bool:
        """Whether the timeout has passed."""
        left = self.seconds_left()
        return left is not None and left <= 0

    def has_room(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether a trial may start or continue: finished and running ones do not fill the budget, and time is left."""
        begun = sum(is_finished(trial) or outcome(trial) == "running" for trial in trials)
        return begun < self.trials and self.has_time()

    def has_time(self) -> bool:
        """Whether enough time is left to start a trial."""
        left = self.seconds_left()
        return left is None or left > MIN_SECONDS


def count_finished(trials: Sequence[TrialView]) -> int:
    """Return how many trials count towards the budget."""
    return sum(is_finished(trial) for trial in trials)


def spent_seconds(trials: Sequence[TrialView]) -> float:
    """Return the wall seconds in which at least one trial ran.

    A trial ends when it last reported its own seconds, not when Optuna closed it: the process of a killed trial may
    have been gone for hours before anyone noticed, and that time must not count. The start that Optuna stores is that
    of its last worker; what earlier ones have spent is added.
    """
    begun = [
        (trial.datetime_start.timestamp(), wall_seconds(trial), earlier_seconds(trial))
        for trial in trials
        if trial.datetime_start
    ]
    spans = sorted((start, start + seconds - earlier) for start, seconds, earlier in begun)
    total, covered_until = sum(earlier for _, _, earlier in begun), float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, covered_until))
        covered_until = max(covered_until, end)
    return total


def stop_message(attributes: Mapping[str, Any]) -> str | None:
    """Return one line about a study that `search.stop = "noise"` has ended, or None for any other study."""
    stopped = StudyRecord.from_attributes(attributes).stopped
    if not stopped:
        return None
    gain = ExpectedGain(**stopped)
    return (
        f'stopped by search.stop = "noise" after {gain.complete} complete trials: another trial is expected to '
        f"gain at most {gain.expected:.2g}, less than the noise of a score ({gain.noise:.2g}); "
        'continue with --set search.stop="none"'
    )


def why_ended(study: Study, spec: StudySpec) -> str | None:
    """Return why a search ended before its number of trials was reached, or None if it was reached."""
    from hpo.search.samplers import build_sampler, is_exhausted  # Optuna; importing this module must stay cheap

    trials = study.get_trials(deepcopy=False)
    if count_finished(trials) >= spec.search.trials:
        return None
    if message := stop_message(study.user_attrs):
        return message
    if any(outcome(trial) == "running" for trial in trials):
        return "other processes are still running trials"
    # Before the timeout: more time would not help once a grid is exhausted.
    if is_exhausted(build_sampler(spec), study, spec.space):
        return f"every combination of the search space was tried ({spec.search.sampler.name})"
    if spec.search.timeout is not None:
        return "the timeout was reached; continue with a longer --timeout"
    return "the sampler has no more values to try"
