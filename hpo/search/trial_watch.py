"""TrialWatch: how far a worker's trial is, whether it should stop, and whether it still belongs to the worker."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from hpo.search.budget import Budget
from hpo.search.search_listener import SearchListener
from hpo.search.signals import StopSignal
from hpo.store.attributes import TrialStop
from hpo.store.claiming_storage import TrialLost
from hpo.store.database import GRACE_PERIOD
from hpo.store.optuna_internals import claimed_trial, is_trial_lost, release_trial
from hpo.store.trial_record import trial_attributes
from hpo.store.trial_state import OUT_OF_TIME
from hpo.store.worker_lock import WorkerLock, WorkerProgress
from hpo.training.measurements import TrialStopped

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SUSPENSION = GRACE_PERIOD / 2  # seconds between two steps after which another worker may have taken the trial over


@dataclass
class TrialWatch:
    """Watches one trial after the other. `number` is that of the trial that runs, or has just run."""

    study: Study
    lock: WorkerLock
    stop: StopSignal
    budget: Budget
    listener: SearchListener
    number: int | None = None

    def begin(self, number: int) -> None:
        """Watch the trial of this number, which starts now."""
        self.number = number
        self.lock.write(WorkerProgress(number))
        self._last_time = time.time()

    def on_progress(self, step: int, steps: int, loss: float | None, seconds: float) -> None:
        """Note a step, or without a loss an evaluated batch. Raises if the trial must stop or is lost."""
        progress = self.lock.progress
        position = progress.position + 1 if loss is None and step == progress.step else 0
        self.lock.write(replace(progress, step=step, steps=steps, seconds=seconds, position=position))
        now = time.time()  # unlike the monotonic clock, it goes on while the machine sleeps
        if now - self._last_time > SUSPENSION:
            self.check_owner()
        self._last_time = now
        self.stop.check()
        if self.budget.is_over():
            raise TrialStopped(f"{OUT_OF_TIME}: the study's timeout of {self.budget.timeout:g} s was reached")
        self.listener.step(step, steps, loss)

    def check_owner(self) -> None:
        """Raise TrialLost if the trial belongs to another worker now, or was ended by somebody."""
        if is_trial_lost(self.study):
            raise TrialLost

    def pause(self, reason: str) -> FrozenTrial | None:
        """Let the trial that was started wait for any worker; return it as it is then, or None if there is none."""
        trial = claimed_trial(self.study)
        if trial is None:
            return None
        progress = self.lock.progress if self.lock.progress.trial == trial.number else WorkerProgress()
        stop = TrialStop(progress.step, progress.steps, progress.seconds, progress.position)
        if not release_trial(self.study, trial, TrialState.WAITING, trial_attributes(stop=stop, reason=reason)):
            return None
        self.number = trial.number
        return self.find_trial()

    def find_trial(self) -> FrozenTrial:
        """Return the trial as the store has it: by its number, because other workers add trials to the same study."""
        return next(trial for trial in self.study.get_trials(deepcopy=False) if trial.number == self.number)
