"""The state of a stored trial: how it ended, and whether it counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

# A stored reason starts with one of these. The first say nothing about the trial's values, so it is not finished ...
INTERRUPTED, KILLED, OUT_OF_TIME, SURPLUS = "interrupted", "killed", "out of time", "surplus"
# ... and the others are what its values, or the code that they lead to, have caused.
PRUNED, DIVERGED, INFEASIBLE, UNVERIFIED, ERROR = "pruned", "diverged", "infeasible", "unverified", "error"
STOPPED = "stopped"  # by `hpo stop STUDY TRIAL`: somebody does not want its result, so it is not continued
_EARLIER_OUTCOMES = {"unproven": UNVERIFIED}  # as version 0.1.0 stored it
_OUTCOME_OF_STATE = {"COMPLETE": "complete", "RUNNING": "running", "WAITING": "waiting"}
PAUSED = "paused"  # it has run, and waits for a worker that continues it
# A trial with one of these outcomes was stopped by an earlier version, or failed by another program. It cannot
# continue, so another one repeats it.
RETRIED_OUTCOMES = {INTERRUPTED, KILLED, OUT_OF_TIME}
NOT_ENDED = {"running", "waiting", PAUSED}
_WITHOUT_RESULT = {SURPLUS} | RETRIED_OUTCOMES
_UNFINISHED = NOT_ENDED | _WITHOUT_RESULT
MAX_KILLS = 3  # of retried trials: after so many killed processes it counts as finished


class TrialView(Protocol):
    """A stored trial, read by Optuna (FrozenTrial) or by the SQLite reader (StoredTrial)."""

    @property
    def number(self) -> int: ...
    @property
    def state(self) -> Any: ...  # an Enum, whose members have Optuna's names
    @property
    def datetime_start(self) -> datetime | None: ...
    @property
    def values(self) -> Sequence[float] | None: ...
    @property
    def params(self) -> dict[str, Any]: ...
    @property
    def intermediate_values(self) -> dict[int, float]: ...
    @property
    def user_attrs(self) -> dict[str, Any]: ...


# The functions below read single attributes, not a TrialRecord: they run over all trials of a study several times per
# trial, and building a record takes 40 microseconds, an outcome 1.4.


def outcome(trial: TrialView) -> str:
    """Return `complete`, `running`, `waiting`, `paused`, or the beginning of the reason why the trial ended otherwise.

    A failed trial without a reason was failed by another process because its heartbeat stopped, so it was killed.
    """
    state = trial.state.name
    if state in _OUTCOME_OF_STATE:
        if state == "WAITING" and trial.datetime_start is not None:
            return PAUSED
        return _OUTCOME_OF_STATE[state]
    default = PRUNED if state == "PRUNED" else KILLED
    return (read_reason(trial) or default).partition(":")[0]


def read_reason(trial: TrialView) -> str | None:
    """Return why a trial ended, if that was stored: its outcome, and mostly `: ` and details."""
    stored = trial.user_attrs.get("reason")
    if stored is None:
        return None
    beginning, colon, details = str(stored).partition(":")
    return _EARLIER_OUTCOMES.get(beginning, beginning) + colon + details


def is_finished(trial: TrialView) -> bool:
    """Whether a trial counts towards `search.trials`: complete, pruned, or ended by its own values."""
    return outcome(trial) not in _UNFINISHED or count_kills(trial) >= MAX_KILLS


def has_complete_trial(trials: Sequence[TrialView]) -> bool:
    """Whether a search has a trial to retrain."""
    return any(trial.state.name == "COMPLETE" for trial in trials)


def is_superseded(trial: TrialView) -> bool:
    """Whether a trial ended without a result of its own; usually another trial repeats its values."""
    return outcome(trial) in _WITHOUT_RESULT


def wall_seconds(trial: TrialView) -> float:
    """Return the seconds that a trial took, up to its last rung if it was killed; 0 if none were stored."""
    return float((trial.user_attrs.get("seconds") or {}).get("wall", 0.0))


def earlier_seconds(trial: TrialView) -> float:
    """Return how many of these seconds earlier workers have spent, before the trial continued."""
    return float((trial.user_attrs.get("seconds") or {}).get("earlier", 0.0))


def count_kills(trial: TrialView) -> int:
    """Return how often the process of a trial was killed, its earlier attempts included."""
    return int(trial.user_attrs.get("kills", 0)) + (outcome(trial) == KILLED)


def count_outcomes(trials: Sequence[TrialView]) -> dict[str, int]:
    """Return outcome -> number of trials, the most frequent first, ties by name."""
    counts = Counter(outcome(trial) for trial in trials)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
