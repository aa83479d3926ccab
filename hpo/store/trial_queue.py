"""The order of trials: which one runs next, which is surplus, and its index in an uninterrupted search."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hpo.store.optuna_internals import fixed_values
from hpo.store.trial_record import read_field, trial_attributes
from hpo.store.trial_state import (
    PAUSED,
    RETRIED_OUTCOMES,
    SURPLUS,
    count_kills,
    is_finished,
    outcome,
    read_reason,
)

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from hpo.study.search_space import SearchSpace

_logger = logging.getLogger(__name__)


def replay_index(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """Return the trial's index, from 0, in a search that was never interrupted.

    A retry has the index of its first attempt. All random numbers of a trial are derived from the study's seed and
    this index, so they do not depend on how often a process was started.
    """
    stored = read_field(trial, "replay_index")
    if stored is not None:
        return int(stored)
    first = trial
    if read_field(first, "retry_of") is not None:
        by_number = {other.number: other for other in trials}
        while (number := read_field(first, "retry_of")) is not None:
            first = by_number[number]
    earlier = [other for other in trials if other.number < first.number]
    return sum(
        read_field(other, "retry_of") is None and not _is_stored_surplus(other) and not _repeats_start(other, earlier)
        for other in earlier
    )


def enqueue_next(study: Study, space: SearchSpace) -> bool:
    """Enqueue what must run next, and return whether a trial is waiting.

    A paused trial waits already, and Optuna starts the waiting trials in the order of their numbers. Trials that cannot
    continue, which earlier versions or other programs have failed, are enqueued again next, all of them; then starting
    points, one at a time. If all starting points were enqueued at once, a repeated trial would run after them. So the
    order of results, which pruners and samplers depend on, is the one of a search without interruption.
    """
    trials = study.get_trials(deepcopy=False)
    retried = {read_field(trial, "retry_of") for trial in trials}
    is_waiting = any(outcome(trial) in {"waiting", PAUSED} for trial in trials)
    for trial in trials:
        if outcome(trial) in RETRIED_OUTCOMES and trial.number not in retried and not is_finished(trial):
            _enqueue_retry(study, trial)
            is_waiting = True
    if is_waiting:
        return True
    enqueued = {read_field(trial, "starting_point") for trial in trials}
    for index, start in enumerate(space.known_good):
        if index not in enqueued:
            _logger.info("enqueuing starting point %d: %s", index, start.source)
            study.enqueue_trial(start.values, trial_attributes(starting_point=index, source=start.source))
            return True
    return False


def is_surplus(trial: FrozenTrial, trials: Sequence[FrozenTrial], wanted: int) -> bool:
    """Whether a running trial is not needed: earlier ones fill the budget, or run the same retry or starting point.

    A paused trial fills its place, because it continues.

    Workers check the budget and start a trial in two steps, so two of them can start the last one. The later gives up.
    """
    earlier = [other for other in trials if other.number < trial.number]
    if sum(is_finished(other) or outcome(other) in {"running", PAUSED} for other in earlier) >= wanted:
        return True
    retry_of = read_field(trial, "retry_of")
    if retry_of is not None:
        return any(read_field(other, "retry_of") == retry_of for other in earlier)
    return _repeats_start(trial, earlier)


def _repeats_start(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial is not the first one with its starting point, so that it gives up, or will when it runs.

    Two workers may enqueue the same one. Until the later trial is stored as surplus, it must not count as an earlier
    one either: two trials would have the same index, and draw the same values.
    """
    starting_point = read_field(trial, "starting_point")
    if starting_point is None:
        return False
    first_attempts = (other for other in trials if read_field(other, "retry_of") is None)
    return any(
        other.number < trial.number and read_field(other, "starting_point") == starting_point
        for other in first_attempts
    )


def _is_stored_surplus(trial: FrozenTrial) -> bool:
    return (read_reason(trial) or "").startswith(SURPLUS)


def _enqueue_retry(study: Study, trial: FrozenTrial) -> None:
    _logger.info("enqueuing trial #%d again: %s", trial.number, read_reason(trial))
    origin = {name: read_field(trial, name) for name in ("starting_point", "source", "drawn_by")}
    kept: dict[str, Any] = {name: value for name, value in origin.items() if value is not None}
    # Only the values are copied. Optuna's own retry callback copies the reported rungs too, so that the retry would
    # never be pruned at those. A trial that died early has not drawn all its enqueued values yet: copy these as well.
    values = {**fixed_values(trial), **trial.params}
    study.enqueue_trial(values, trial_attributes(**kept, retry_of=trial.number, kills=count_kills(trial)))
