"""The state of a stored trial: how it ended, whether it counts, and whether the process that runs it is alive."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from hpo.store.optuna_internals import fail_trial, set_trial_attribute

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

# A stored reason starts with one of these. The first say nothing about the trial's values, so it is not finished ...
INTERRUPTED, KILLED, OUT_OF_TIME, SURPLUS = "interrupted", "killed", "out of time", "surplus"
# ... and the others are what its values, or the code that they lead to, have caused.
PRUNED, DIVERGED, INFEASIBLE, UNVERIFIED, ERROR = "pruned", "diverged", "infeasible", "unverified", "error"
STOPPED = "stopped"  # by `hpo stop STUDY TRIAL`: somebody does not want its result, so it is not continued
_EARLIER_OUTCOMES = {"unproven": UNVERIFIED}  # as version 0.1.0 stored it
_OUTCOME_OF_STATE = {"COMPLETE": "complete", "RUNNING": "running", "WAITING": "waiting"}
RETRIED_OUTCOMES = {INTERRUPTED, KILLED, OUT_OF_TIME}
_WITHOUT_RESULT = {SURPLUS} | RETRIED_OUTCOMES
_UNFINISHED = {"running", "waiting"} | _WITHOUT_RESULT
MAX_KILLS = 3  # after so many killed processes a trial is not retried: it counts as finished
SILENCE_LIMIT = timedelta(seconds=60)  # a running trial that has never named its process counts as dead after this
_logger = logging.getLogger(__name__)


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
    """Return `complete`, `running`, `waiting`, or the beginning of the reason why the trial ended otherwise.

    A failed trial without a reason was failed by another process because its heartbeat stopped, so it was killed.
    """
    state = trial.state.name
    if state in _OUTCOME_OF_STATE:
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


def count_kills(trial: TrialView) -> int:
    """Return how often the process of a trial was killed, its earlier attempts included."""
    return int(trial.user_attrs.get("kills", 0)) + (outcome(trial) == KILLED)


def count_outcomes(trials: Sequence[TrialView]) -> dict[str, int]:
    """Return outcome -> number of trials, the most frequent first, ties by name."""
    counts = Counter(outcome(trial) for trial in trials)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def worker_identity() -> dict[str, Any]:
    """Return what identifies this process among all hosts: host name, process id, and time of its start."""
    import psutil

    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def is_alive_here(trial: TrialView) -> bool:
    """Whether the process that runs a trial is known to be alive on this host."""
    import psutil

    worker = trial.user_attrs.get("worker")
    if worker is None or worker["host"] != socket.gethostname():
        return False
    try:
        started = psutil.Process(worker["pid"]).create_time()
    except psutil.NoSuchProcess:
        return False
    # Process ids are reused, so the start must match too. On Linux it is computed from the clock, which may be set.
    return bool(abs(started - worker["started"]) < SILENCE_LIMIT.total_seconds())


def fail_dead_trials(study: Study) -> None:
    """Fail running trials whose process is gone from this host or missed its heartbeats, or never named itself.

    Optuna fails trials with missed heartbeats only. A process that died before its first heartbeat would leave its
    trial running forever, and on this host it is known at once that a process has ended.
    """
    from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
    from optuna.storages import fail_stale_trials
    from optuna.trial import TrialState

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_dead(trial):
            _logger.info("trial #%d: its process is gone; failing it", trial.number)
            try:
                set_trial_attribute(study, trial, "reason", KILLED)
                fail_trial(study, trial)
            except UpdateFinishedTrialError:
                continue  # another worker was faster


def _is_dead(trial: FrozenTrial) -> bool:
    worker = trial.user_attrs.get("worker")
    if worker is None:
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start > SILENCE_LIMIT
    return worker["host"] == socket.gethostname() and not is_alive_here(trial)
