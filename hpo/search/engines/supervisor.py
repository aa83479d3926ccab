"""Run the workers of a search in other processes: replace those that die, and end when the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from hpo.errors import TrainingError
from hpo.search.budget import Budget, count_finished, stop_message
from hpo.search.engines.base import POLL_SECONDS, SearchRun, TrialWatcher
from hpo.search.engines.messages import forward_message, restore_error
from hpo.search.engines.worker_process import WorkerEnd, WorkerReport
from hpo.search.samplers import build_sampler, is_exhausted
from hpo.search.signals import StopSignal
from hpo.store.stop_requests import read_stop_request


class RunningWorker(Protocol):
    """A worker that an engine has started."""

    @property
    def is_waiting(self) -> bool:
        """Whether the worker has not started yet, because it waits for a place to run."""

    def poll(self) -> WorkerReport:
        """Return what is new about the worker. Does not wait."""

    def stop(self) -> None:
        """Ask the worker to end after its current step."""

    def kill(self) -> None:
        """End the worker at once."""


class Supervisor:
    """Keeps the workers of a search running. `start` starts the one with this index, counted from 0."""

    def __init__(self, search: SearchRun, start: Callable[[int], RunningWorker]) -> None:
        self.search = search
        self.start = start
        self.workers: dict[int, RunningWorker] = {}
        self.failures: list[str] = []
        self.restarts = 0
        self.budget = Budget.of(search.spec.search, search.study)
        self._finished_at_last_start = -1

    def run(self) -> None:
        """Run the workers until the search has ended.

        Raises KeyboardInterrupt, with all trials closed, if asked to stop, and TrainingError if workers failed and the
        others did not fill the budget.
        """
        watcher = TrialWatcher(self.search)
        with StopSignal().on_signals():
            try:
                for index in range(self.search.spec.search.workers):
                    self.workers[index] = self.start(index)
                while self._is_running() or self._start_another():
                    time.sleep(POLL_SECONDS)
                    self._check_stop_request()
                    self._poll_workers(replaces=True)
                    watcher.report()
            finally:
                self._stop_workers()
                watcher.report()
        self._report_failures()

    def _is_running(self) -> bool:
        if all(worker.is_waiting for worker in self.workers.values()):
            return bool(self.workers) and self._is_work_left()
        return True

    def _start_another(self) -> bool:
        """Start a worker if all have ended but there is work left, and return whether it was.

        Workers end if running trials fill the budget. If the process of such a trial dies then, nobody is there to
        continue it. A worker that was started for this and has finished no trial has found nothing to do.
        """
        finished = count_finished(self.search.study.get_trials(deepcopy=False))
        if self.failures or finished == self._finished_at_last_start or not self._is_work_left():
            return False
        self._finished_at_last_start = finished
        self.workers[0] = self.start(0)
        return True

    def _is_work_left(self) -> bool:
        spec, study = self.search.spec, self.search.study
        if count_finished(study.get_trials(deepcopy=False)) >= self.budget.trials or not self.budget.has_time():
            return False
        return stop_message(study.user_attrs) is None and not is_exhausted(build_sampler(spec), study, spec.space)

    def _check_stop_request(self) -> None:
        if read_stop_request(self.search.study).search != self.search.known_stop:
            raise KeyboardInterrupt

    def _poll_workers(self, replaces: bool) -> None:
        for index, worker in list(self.workers.items()):
            report = worker.poll()
            for message in report.messages:
                forward_message(message, self.search.listener)
            if report.end is None:
                continue
            del self.workers[index]
            if report.end.error:
                self.failures.append(str(restore_error(report.end.error)))
            elif report.end.reason and replaces:
                self._check_stop_request()  # it may have seen the request first
                self._replace(index, report.end)

    def _replace(self, index: int, end: WorkerEnd) -> None:
        """Start another worker in place of a dead one, unless too many have died."""
        name, most = f"worker {index + 1}", self.search.spec.search.max_restarts
        lines = f"; its last lines: {' | '.join(end.last_lines)}" if end.last_lines else ""
        if not self._is_work_left():
            self.search.listener.notice(f"{name} {end.reason}, after the last trial{lines}")
        elif self.restarts == most:
            self.failures.append(f"{name} {end.reason}, and search.max_restarts = {most} others before{lines}")
        else:
            self.restarts += 1
            self.search.listener.notice(
                f"{name} {end.reason}; another one takes its place (restart {self.restarts} of {most}){lines}"
            )
            self.workers[index] = self.start(index)

    def _stop_workers(self) -> None:
        """End all workers, and wait until they have closed their trials."""
        for index, worker in list(self.workers.items()):
            if worker.is_waiting:
                worker.kill()
                del self.workers[index]
            else:
                worker.stop()
        try:
            while self.workers:
                time.sleep(POLL_SECONDS / 5)
                self._poll_workers(replaces=False)
        finally:  # at a second Ctrl-C
            for worker in self.workers.values():
                worker.kill()

    def _report_failures(self) -> None:
        """Raise TrainingError for workers that failed, or only notify the user if the others filled the budget."""
        if not self.failures:
            return
        message = f"{len(self.failures)} of {self.search.spec.search.workers} workers failed; the last one: "
        message += self.failures[-1]
        if count_finished(self.search.study.get_trials(deepcopy=False)) < self.budget.trials:
            raise TrainingError(message)
        self.search.listener.notice(message)
