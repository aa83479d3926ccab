"""What an engine is: a function that runs the workers of an open search until its budget is spent.

An engine for workers elsewhere (a cluster, a queue) starts `python -m hpo.search.engines.worker_main` there with a
`WorkerRequest` as JSON on its standard input. What the worker prints is described in `messages.py`; to `Supervisor`, an
engine gives a function that starts a worker. A package registers it as an entry point:

    [project.entry-points."hpo.engines"]
    slurm = "my_package:run_on_slurm"
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from hpo.search.search_listener import SearchListener
from hpo.store.trial_state import SURPLUS, outcome
from hpo.study.spec import StudySpec

if TYPE_CHECKING:
    from hpo.training.context import RunContext

POLL_SECONDS = 0.5  # between two readings of the store


@dataclass(frozen=True)
class WorkerRequest:
    """What another process needs to open a study, or to join its search; all of it fits into JSON."""

    file: str  # need not exist there: relative paths of data start at its folder
    study: dict[str, Any]  # StudySpec.resolved()
    overrides: list[str] = field(repr=False)  # these two may hold a password
    storage: str = field(repr=False)
    parent: int | None = None  # process id on the worker's host, if the worker should stop once this process has ended
    known_stop: str = ""  # the request of `hpo stop` that was there before this search began
    opens: bool = False  # only check everything, and open or create the study
    logs: bool = False  # send log messages


@dataclass
class SearchRun:
    """A search that is ready to run: its study is open."""

    spec: StudySpec
    study: optuna.Study
    url: str = field(repr=False)  # may hold a password
    listener: SearchListener
    devices: int = 0  # accelerators of this machine
    known_stop: str = ""  # the request of `hpo stop` that was there before this search began
    sampler: BaseSampler | None = None  # objects passed from Python, only to the engine that runs in this process
    pruner: BasePruner | None = None

    @cached_property
    def context(self) -> RunContext:
        """What trials in this process share: data, tokens and checkpoint, loaded when they are first used."""
        from hpo.search.setup import open_search  # imports torch and scikit-learn, which only workers need

        return open_search(self.spec, self.url, SearchListener(), is_worker=True)[0]

    def worker_request(self) -> WorkerRequest:
        """Return what a worker in another process needs."""
        return replace(build_request(self.spec, self.url), known_stop=self.known_stop)


def build_request(spec: StudySpec, url: str) -> WorkerRequest:
    """Return what a process on this machine needs to open a study."""
    logs = logging.getLogger("hpo").isEnabledFor(logging.INFO)
    return WorkerRequest(
        str(spec.file.resolve()), spec.resolved(), list(spec.overrides), url, parent=os.getpid(), logs=logs
    )


class Engine(Protocol):
    """Runs `search.spec.search.workers` workers and returns when they have ended.

    On KeyboardInterrupt an engine stops its workers, waits until they have closed their trials, and raises it again.
    It raises TrainingError if workers failed and the budget is not spent. `Supervisor` does all this.
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
