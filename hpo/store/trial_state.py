"""What a stored trial says: finished or not, why it ended, its place in the study, and what must run again."""

from __future__ import annotations

import os
import socket
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from hpo.study.search_space import SearchSpace

# First words of the attribute `reason`. These say nothing of the trial's values, so they finish no trial ...
INTERRUPTED, KILLED, OUT_OF_TIME, SURPLUS = "interrupted", "killed", "out of time", "surplus"
# ... and these are what the values (or the code that they reach) led to.
PRUNED, DIVERGED, INFEASIBLE, UNVERIFIED, ERROR = "pruned", "diverged", "infeasible", "unproven", "error"
_RUN_AGAIN = {INTERRUPTED, KILLED, OUT_OF_TIME}
_PLAIN = {"COMPLETE": "complete", "RUNNING": "running", "WAITING": "waiting"}  # Optuna's states that say all
_WITHOUT_RESULT = {SURPLUS} | _RUN_AGAIN
_UNFINISHED = {"running", "waiting"} | _WITHOUT_RESULT
MAX_KILLS = 3  # a trial that takes its process down so often is given up as infeasible
SILENCE_LIMIT = timedelta(seconds=60)  # a running trial without any sign of its process is dead after so long


class TrialView(Protocol):
    """What is told of a stored trial; Optuna's FrozenTrial has it, and so has a glance."""

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


def outcome(trial: TrialView) -> str:
    """`complete`, `running`, `waiting`, or the first words of the reason why a trial ended otherwise.

    A failed trial without a reason was failed from outside: its heartbeats were missed, so it counts as killed.
    """
    state = trial.state.name
    if state in _PLAIN:
        return _PLAIN[state]
    return str(trial.user_attrs.get("reason", PRUNED if state == "PRUNED" else KILLED)).partition(":")[0]


def is_finished(trial: TrialView) -> bool:
    """Whether a trial counts towards `search.trials`: complete, pruned, or ended by its own values."""
    return outcome(trial) not in _UNFINISHED or _kills(trial) >= MAX_KILLS


def wall_seconds(trial: TrialView) -> float:
    """Seconds that a trial took, as far as it came; 0 where it never said."""
    return float((trial.user_attrs.get("seconds") or {}).get("wall", 0.0))


def is_superseded(trial: TrialView) -> bool:
    """Whether a trial ended without a result; its values run again in another trial, or are not needed."""
    return outcome(trial) in _WITHOUT_RESULT


def replay_index(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """The trial's place in a search that nothing ever interrupted, counted from 0.

    A trial that runs again has the place of its first attempt. Everything random about a trial follows from the
    study's seed and this place, never from how often a process was started.
    """
    if "place" in trial.user_attrs:
        return int(trial.user_attrs["place"])
    first = trial
    if "retry_of" in first.user_attrs:
        by_number = {each.number: each for each in trials}
        while "retry_of" in first.user_attrs:
            first = by_number[first.user_attrs["retry_of"]]
    before = [each.user_attrs for each in trials if each.number < first.number]
    return sum("retry_of" not in known and not str(known.get("reason")).startswith(SURPLUS) for known in before)


def worker_identity() -> dict[str, Any]:
    """What tells a trial's process from any other: host, process id, and when it was started."""
    import psutil

    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def enqueue_next(study: Study, space: SearchSpace) -> bool:
    """Put next what must run next: unfinished trials are queued again, then known-good starts; whether any waits.

    Known-good starts are queued one at a time, so that a trial that runs again comes before those after it: the
    order of results, on which pruners and samplers build, is the one of a search without interruption.
    """
    trials = study.get_trials(deepcopy=False)
    again = {trial.user_attrs.get("retry_of") for trial in trials}
    is_waiting = False
    for trial in trials:
        if outcome(trial) in _RUN_AGAIN and trial.number not in again and not is_finished(trial):
            kept: dict[str, Any] = {
                name: trial.user_attrs[name] for name in ("known_good", "source", "drawn") if name in trial.user_attrs
            }
            kept |= {"retry_of": trial.number, "kills": _kills(trial)}
            # Only values travel: Optuna's own retry would copy the rungs already passed, and never prune there again.
            study.enqueue_trial({**_fixed(trial), **trial.params}, user_attrs=kept)
            is_waiting = True
    if is_waiting or any(outcome(trial) == "waiting" for trial in trials):
        return True
    queued = {trial.user_attrs.get("known_good") for trial in trials}
    for number, start in enumerate(space.known_good):
        if number not in queued:
            study.enqueue_trial(start.values, user_attrs={"known_good": number, "source": start.source})
            return True
    return False


def is_surplus(trial: FrozenTrial, trials: Sequence[FrozenTrial], wanted: int) -> bool:
    """Whether a running trial need not be run: earlier ones fill the budget, or run the very same retry or start.

    Workers look and then begin, so two of them can begin one trial too many; the later one steps back.
    """
    earlier = [each for each in trials if each.number < trial.number]
    if sum(is_finished(each) or outcome(each) == "running" for each in earlier) >= wanted:
        return True
    name = "retry_of" if "retry_of" in trial.user_attrs else "known_good"
    return name in trial.user_attrs and any(
        each.user_attrs.get(name) == trial.user_attrs[name] and ("retry_of" in each.user_attrs) == (name == "retry_of")
        for each in earlier
    )


def count_outcomes(trials: Sequence[TrialView]) -> dict[str, int]:
    """Ending -> how many trials ended so, the most frequent first, of equals by name."""
    counted = Counter(outcome(trial) for trial in trials)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _fixed(trial: FrozenTrial) -> dict[str, Any]:
    """The values that a queued trial was to have, some of which it may have died before drawing."""
    return dict(trial.system_attrs.get("fixed_params", {}))


def _kills(trial: TrialView) -> int:
    return int(trial.user_attrs.get("kills", 0)) + (outcome(trial) == KILLED)


def fail_dead_trials(study: Study) -> None:
    """Fail running trials whose process is gone from this host, missed its heartbeats, or never gave a sign of life.

    A process that died before its first heartbeat would run for ever for Optuna, and on this host there is no need
    to wait.
    """
    from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
    from optuna.storages import fail_stale_trials
    from optuna.trial import TrialState

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_dead(trial):
            try:
                study._storage.set_trial_user_attr(trial._trial_id, "reason", KILLED)
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            except UpdateFinishedTrialError:
                continue  # another worker was first


def _is_dead(trial: FrozenTrial) -> bool:
    worker = trial.user_attrs.get("worker")
    if worker is None:
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start > SILENCE_LIMIT
    return worker["host"] == socket.gethostname() and not is_alive_here(trial)


def is_alive_here(trial: FrozenTrial) -> bool:
    """Whether the process that runs a trial is known to be alive on this host."""
    import psutil

    worker = trial.user_attrs.get("worker")
    if worker is None or worker["host"] != socket.gethostname():
        return False
    try:
        # The time of start shifts with the clock, so a small difference is no other process.
        return bool(
            abs(psutil.Process(worker["pid"]).create_time() - worker["started"]) < SILENCE_LIMIT.total_seconds()
        )
    except psutil.NoSuchProcess:
        return False
