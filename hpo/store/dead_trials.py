"""Release the running trials of dead workers, so that others continue them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.store.attributes import TrialStop, WorkerIdentity, read_part
from hpo.store.optuna_internals import release_trial, stale_trial_ids, trial_id
from hpo.store.run_record import run_attributes
from hpo.store.trial_record import read_field, trial_attributes
from hpo.store.trial_state import INFEASIBLE, KILLED, WORKER, TrialView, wall_seconds
from hpo.store.worker_lock import is_alive, read_progress, sweep_worker_locks

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SILENCE_LIMIT = timedelta(seconds=60)  # a running trial that has never named its worker counts as dead after this
MAX_DEATHS = 3  # workers in a row that died at the same batch of a trial: the trial kills them
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeadTrial:
    """A running trial whose worker was dead. If there is a reason to give it up, it does not continue."""

    number: int
    given_up: str | None


def is_worker_alive(trial: TrialView, study_folder: Path) -> bool | None:
    """Whether the worker of a running trial is alive; None if only heartbeats tell."""
    worker = trial.user_attrs.get(WORKER)
    return is_alive(read_part(WorkerIdentity, worker), study_folder) if worker else None


def release_dead_trials(study: Study, study_folder: Path) -> list[DeadTrial]:
    """Let the trials of dead workers wait for others, and return them.

    Such a trial stays one row of the study: it keeps its number, values, rungs and seed. A trial that kills its workers
    itself is given up: it fails as infeasible once the workers have died at the very same point of it several times. A
    worker that was killed from outside dies anywhere, and one that was asked to stop, or whose machine is gone, does
    not count.
    """
    released = []
    for trial in _find_dead_trials(study, study_folder):
        stop = _describe_death(trial, study_folder)
        given_up = _reason_to_give_up(stop)
        attributes = trial_attributes(stop=stop)
        if given_up:
            attributes |= trial_attributes(reason=f"{INFEASIBLE}: {given_up}")
        if _release(study, trial, "FAIL" if given_up else "WAITING", attributes):
            released.append(DeadTrial(trial.number, given_up))
    sweep_worker_locks(study_folder)
    return released


def fail_dead_runs(companion: Study, study_folder: Path) -> None:
    """Fail the final runs of dead workers. Unlike a trial, a run is found by its key, so another row continues it."""
    for run in _find_dead_trials(companion, study_folder):
        _release(companion, run, "FAIL", run_attributes(reason=KILLED))
    sweep_worker_locks(study_folder)


def _release(study: Study, trial: FrozenTrial, state: str, attributes: dict[str, object]) -> bool:
    from optuna.trial import TrialState

    _logger.info("trial #%d: its worker is dead; it is %s now", trial.number, state)
    return release_trial(study, trial, TrialState[state], attributes)


def _find_dead_trials(study: Study, study_folder: Path) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    alive = {trial.number: is_worker_alive(trial, study_folder) for trial in running}
    stale = stale_trial_ids(study) if None in alive.values() else set()
    return [
        trial
        for trial in running
        if alive[trial.number] is False
        or (alive[trial.number] is None and (trial_id(trial) in stale or _has_never_named_its_worker(trial)))
    ]


def _has_never_named_its_worker(trial: FrozenTrial) -> bool:
    """Whether another program, or an earlier version, has started a trial and was killed before it wrote to it."""
    started = trial.datetime_start
    return trial.user_attrs.get(WORKER) is None and started is not None and datetime.now() - started > SILENCE_LIMIT


def _reason_to_give_up(stop: TrialStop) -> str | None:
    if stop.deaths < MAX_DEATHS:
        return None
    where = f"after step {stop.step} of {stop.steps}" if stop.steps else "before its first step"
    return f"killed its worker {stop.deaths} times, each time {where}"


def _describe_death(trial: FrozenTrial, study_folder: Path) -> TrialStop:
    """Return how far the trial was, and how many workers in a row have died there."""
    previous = read_part(TrialStop, read_field(trial, "stop"))
    worker = trial.user_attrs.get(WORKER)
    progress = read_progress(read_part(WorkerIdentity, worker), study_folder) if worker else None
    if progress is None:  # on another machine, or before a reboot
        return TrialStop(seconds=wall_seconds(trial))
    if progress.trial != trial.number:  # it had just started
        progress = replace(progress, trial=trial.number, step=0, steps=0, seconds=0.0, position=0)
    stop = TrialStop(progress.step, progress.steps, progress.seconds, progress.position)
    if progress.is_stopping:
        return stop
    is_same = (stop.step, stop.position) == (previous.step, previous.position)
    return replace(stop, deaths=previous.deaths + 1 if is_same else 1)
