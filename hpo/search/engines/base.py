"""What an engine is: a function that runs the workers of an open search until its budget is spent.

An engine for workers elsewhere (a cluster, a queue) starts `python -m hpo.search.worker` there with a `WorkerRequest`
as JSON on its standard input, and calls a `TrialWatcher` while it waits. A package registers it as an entry point:

    [project.entry-points."hpo.engines"]
    slurm = "my_package:run_on_slurm"
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from hpo.errors import TrainingError
from hpo.search.budget import count_finished
from hpo.search.search_listener import SearchListener
from hpo.store.trial_state import SURPLUS, outcome
from hpo.study.spec import StudySpec
from hpo.training.context import RunContext

POLL_SECONDS = 0.5  # between two readings of the store


@dataclass(frozen=True)
class WorkerRequest:
    """What a worker in another process needs to join a search; all of it fits into JSON."""

    file: str
    overrides: list[str] = field(repr=False)  # these two may hold a password
    storage: str = field(repr=False)
    parent: int | None  # process id on the worker's host, if the worker should stop once this process has ended


@dataclass
class SearchRun:
    """A search that is ready to run: the context of its trials, and the open study."""

    context: RunContext
    storage: BaseStorage
    study: optuna.Study
    url: str = field(repr=False)  # may hold a password
    listener: SearchListener
    sampler: BaseSampler | None = None  # objects passed from Python, only to the engine that runs in this process
    pruner: BasePruner | None = None

    @property
    def spec(self) -> StudySpec:
        """The study file."""
        return self.context.spec

    def worker_request(self) -> WorkerRequest:
        """Return what a worker in another process needs."""
        spec = self.spec
        overrides = [*spec.overrides, f'name="{spec.name}"', f"search.trials={spec.search.trials}"]
        if spec.search.timeout is not None:
            overrides.append(f"search.timeout={spec.search.timeout}")
        return WorkerRequest(str(spec.file.resolve()), overrides, self.url, os.getpid())


class Engine(Protocol):
    """Runs `search.spec.search.workers` workers and returns when they have ended.

    On KeyboardInterrupt an engine stops its workers, waits until they have closed their trials, and raises it again.
    It raises TrainingError if workers failed and the budget is not spent; see `report_failures`.
    """

    def __call__(self, search: SearchRun) -> None:
        """Run the workers of a search."""


class TrialWatcher:
    """Reports trials that end in other processes to the listener, each once."""

    def __init__(self, search: SearchRun) -> None:
        self.search = search
        self.reported = {trial.number for trial in search.study.get_trials(deepcopy=False) if trial.state.is_finished()}

    def report(self) -> None:
        """Report the trials that have ended since the last call."""
        for trial in self.search.study.get_trials(deepcopy=False):
            if trial.state.is_finished() and trial.number not in self.reported:
                self.reported.add(trial.number)
                if outcome(trial) != SURPLUS:
                    self.search.listener.ends(trial, self.search.study)
        self.search.listener.runs(self.search.study)


def report_failures(search: SearchRun, reasons: Sequence[str]) -> None:
    """Raise TrainingError for workers that failed, or only notify the user if the others filled the budget."""
    if not reasons:
        return
    message = f"{len(reasons)} of {search.spec.search.workers} workers failed; the last one: {reasons[-1]}"
    if count_finished(search.study.get_trials(deepcopy=False)) < search.spec.search.trials:
        raise TrainingError(message)
    search.listener.notice(message)
