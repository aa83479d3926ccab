"""The order of trials: which one runs next, which is surplus, and its index in an uninterrupted search."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hpo.store.optuna_internals import fixed_values
from hpo.store.records import TrialRecord, trial_attributes
from hpo.store.trial_state import RETRIED_OUTCOMES, SURPLUS, count_kills, is_finished, outcome

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
    record = TrialRecord.from_trial(trial)
    if record.replay_index is not None:
        return record.replay_index
    records = {other.number: TrialRecord.from_trial(other) for other in trials}
    while record.retry_of is not None:
        record = records[record.retry_of]
    earlier = [other for other in records.values() if other.number < record.number]
    return sum(other.retry_of is None and not str(other.reason).startswith(SURPLUS) for other in earlier)


def enqueue_next(study: Study, space: SearchSpace) -> bool:
    """Enqueue what must run next, and return whether a trial is waiting.

    Unfinished trials are enqueued again first, all of them; then starting points, one at a time. If all starting
    points were enqueued at once, a retry would run after them. So the order of results, which pruners and samplers
    depend on, is the one of a search without interruption.
    """
    trials = study.get_trials(deepcopy=False)
    records = [TrialRecord.from_trial(trial) for trial in trials]
    retried = {record.retry_of for record in records}
    is_waiting = any(record.outcome == "waiting" for record in records)
    for trial, record in zip(trials, records, strict=True):
        if record.outcome in RETRIED_OUTCOMES and record.number not in retried and not is_finished(trial):
            _enqueue_retry(study, trial, record)
            is_waiting = True
    if is_waiting:
        return True
    enqueued = {record.starting_point for record in records}
    for index, start in enumerate(space.known_good):
        if index not in enqueued:
            _logger.info("enqueuing starting point %d: %s", index, start.source)
            study.enqueue_trial(start.values, trial_attributes(starting_point=index, source=start.source))
            return True
    return False


def is_surplus(trial: FrozenTrial, trials: Sequence[FrozenTrial], wanted: int) -> bool:
    """Whether a running trial is not needed: earlier ones fill the budget, or run the same retry or starting point.

    Workers check the budget and start a trial in two steps, so two of them can start the last one. The later gives up.
    """
    earlier = [other for other in trials if other.number < trial.number]
    if sum(is_finished(other) or outcome(other) == "running" for other in earlier) >= wanted:
        return True
    record = TrialRecord.from_trial(trial)
    records = [TrialRecord.from_trial(other) for other in earlier]
    if record.retry_of is not None:
        return any(other.retry_of == record.retry_of for other in records)
    if record.starting_point is not None:
        return any(other.starting_point == record.starting_point and other.retry_of is None for other in records)
    return False


def _enqueue_retry(study: Study, trial: FrozenTrial, record: TrialRecord) -> None:
    _logger.info("enqueuing trial #%d again: %s", record.number, record.reason)
    origin = {"starting_point": record.starting_point, "source": record.source, "drawn_by": record.drawn_by}
    kept: dict[str, Any] = {name: value for name, value in origin.items() if value is not None}
    # Only the values are copied. Optuna's own retry callback copies the reported rungs too, so that the retry would
    # never be pruned at those. A trial that died early has not drawn all its enqueued values yet: copy these as well.
    study.enqueue_trial(
        {**fixed_values(trial), **trial.params},
        trial_attributes(**kept, retry_of=record.number, kills=count_kills(trial)),
    )
