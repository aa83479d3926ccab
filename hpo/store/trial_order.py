"""The one ordering of trials by objective, and the one sign convention.

Scores are compared as `sign(direction) * score`, so that larger is better for every metric. Sorting is stable: trials
with equal scores keep the order in which they were passed, which is the order of their numbers when they come from a
store. Samplers, candidates for retraining and the stopping rule depend on that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from hpo.store.trial_state import TrialView

Trial = TypeVar("Trial", bound=TrialView)


def sign(direction: str) -> int:
    """Return 1 for `maximize` and -1 for `minimize`, in any case: `sign * score` is larger for a better score."""
    return {"maximize": 1, "minimize": -1}[direction.lower()]


def is_better(score: float, other: float, direction: str) -> bool:
    """Whether a score is strictly better than another."""
    return sign(direction) * score > sign(direction) * other


def best_first(trials: Iterable[Trial], direction: str) -> list[Trial]:
    """Return the complete trials, the best first."""
    complete = [trial for trial in trials if trial.state.name == "COMPLETE" and trial.values]
    return sorted(complete, key=lambda trial: rank_key(trial, direction))


def rank_key(trial: TrialView, direction: str) -> tuple[int, float, float]:
    """Return the sorting key of a trial among all others.

    Complete trials come first, the best on top; then pruned ones, those that reached a later rung first and the better
    score at that rung deciding; all others last.
    """
    if trial.state.name == "COMPLETE" and trial.values:
        return 0, 0.0, -sign(direction) * trial.values[0]
    if trial.state.name == "PRUNED" and trial.intermediate_values:
        last_rung = max(trial.intermediate_values)
        return 1, -last_rung, -sign(direction) * trial.intermediate_values[last_rung]
    return 2, 0.0, 0.0


def best_rung(curve: Mapping[int, float], direction: str) -> int:
    """Return the rung with the best score, the earliest of equals."""
    return max(curve, key=lambda rung: sign(direction) * curve[rung])
