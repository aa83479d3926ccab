"""One simulated search: workers on one or two machines, and what happens to them, all drawn from a seed."""

from __future__ import annotations

import os
import random
import sqlite3
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from benchmarks.worker_simulation.environment import SIGTERM, simulated_environment
from benchmarks.worker_simulation.faulty_store import FaultyStores, StoreFaults
from benchmarks.worker_simulation.kernel import Kernel, Machine, SimulatedProcess, SimulationError
from benchmarks.worker_simulation.studies import (
    NAME,
    StudyTemplate,
    build_context,
    without_torch,
)
from benchmarks.worker_simulation.trainer import SimulatedTrainer
from hpo.atomic import sweep_leftovers
from hpo.errors import StoreError
from hpo.search import worker
from hpo.search.budget import Budget
from hpo.search.requested_stop import RequestedStop
from hpo.search.search_listener import SearchListener
from hpo.store.dead_trials import MAX_DEATHS
from hpo.store.optuna_internals import storage_of
from hpo.store.stop_requests import read_stop_request, request_stop
from hpo.store.storage import open_storage
from hpo.store.worker_lock import read_progress

STORES = FaultyStores()
MEMORY_FOLDER = Path("/dev/shm")
LONG_SUSPENSION = (90.0, 400.0)  # seconds, longer than the grace period of heartbeats
_QUERY_RUNNING = """\
SELECT trials.number FROM trials JOIN trial_user_attributes USING (trial_id)
WHERE state = 'RUNNING' AND key = 'worker' AND value_json LIKE ?"""


@dataclass(frozen=True)
class Dangers:
    """How likely each event is at a point of a worker, and how many of them happen at most."""

    workers: int = 1
    machines: int = 1
    pace: float = 2.0  # seconds per step
    kill: float = 0.0
    signal: float = 0.0
    stop_command: float = 0.0  # `hpo stop`
    suspend: float = 0.0
    clock_jump: float = 0.0
    outage: float = 0.0
    switch: float = 0.2
    store_fault: float = 0.0
    most: int = 0

    @classmethod
    def draw(cls, draw: random.Random) -> Dangers:
        """Draw the dangers of a scenario; each of them is absent in some."""

        def rate(*rates: float) -> float:
            return draw.choice((0.0, *rates))

        workers = draw.choice((1, 1, 2, 3))
        return cls(
            workers=workers,
            machines=1 if workers == 1 else draw.choice((1, 2)),
            pace=draw.choice((0.5, 2.0, 8.0)),
            kill=rate(0.004, 0.008, 0.02),
            signal=rate(0.003, 0.01),
            stop_command=rate(0.001),
            suspend=rate(0.003, 0.01),
            clock_jump=rate(0.003),
            outage=rate(0.002),
            switch=draw.choice((0.05, 0.3)),
            store_fault=rate(0.005, 0.02),
            most=draw.choice((2, 4, 8)),
        )


@dataclass
class Scenario:
    """The search of one seed. After `run`, `study` is its study and `trace` what has happened."""

    seed: int
    template: StudyTemplate
    dangers: Dangers
    folder: Path
    processes: list[SimulatedProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kernel = Kernel(self.seed)
        self.faults = StoreFaults(self.kernel, self.dangers.store_fault)
        self.machines = [Machine(f"m{index}", self.folder / f"m{index}") for index in range(self.dangers.machines)]
        self.specs = {machine.name: self.template.load_spec(machine.folder) for machine in self.machines}
        self.url = self.template.copy_store(self.folder)
        self.is_calm = False
        self.events = 0
        self._deaths: Counter[tuple[int, int, int]] = Counter()
        self.failures: list[str] = []

    def run(self) -> None:
        """Run the search with its dangers, then let undisturbed workers finish it, one on each machine."""
        self.kernel.on_point = self._strike
        with simulated_hpo(self.kernel):
            try:
                for index in range(self.dangers.workers):
                    self._start_worker(self.machines[index % len(self.machines)], delay=index * 0.1)
                self.kernel.run()
                self.is_calm, self.faults.rate, self.faults.away_until = True, 0.0, 0.0
                self.kernel.log(None, "from now on, nothing happens")
                for machine in self.machines:
                    self._start_worker(machine, delay=1.0)
                    self.kernel.run()
            except SimulationError as error:
                self.failures.append(str(error))
            finally:
                self.kernel.unwind()

    @property
    def study(self) -> optuna.Study:
        """The study as it is stored."""
        return optuna.load_study(study_name=NAME, storage=open_storage(self.url))

    def _start_worker(self, machine: Machine, delay: float) -> None:
        process = SimulatedProcess(f"{machine.name}/{len(self.processes)}", machine)
        self.processes.append(process)
        self.kernel.start(process, partial(self._work, process), delay)

    def _work(self, process: SimulatedProcess) -> None:
        """Do what a worker process does, and start another one if it ends before the search."""
        self.kernel.log(process, "starts")
        try:
            self._search(process)
            self.kernel.log(process, "ends")
        except BaseException as error:
            if not process.is_alive:
                return
            self.kernel.log(process, f"ends: {type(error).__name__} {error}")
            if isinstance(error, KeyboardInterrupt | StoreError):
                self._restart(process)
            else:
                self.failures.append(f"{process.name} failed with {type(error).__name__}: {error}")
                raise
        finally:
            self.kernel.release(process)

    def _search(self, process: SimulatedProcess) -> None:
        storage = STORES.open(self.url, self.faults, process)
        study = optuna.load_study(study_name=NAME, storage=storage)
        spec, variant = self.specs[process.machine.name], self.template.variant
        sweep_leftovers(spec.folder)  # as run_search does

        def build_trainer(context: Any, run_trial: Any) -> SimulatedTrainer:
            return SimulatedTrainer(context, run_trial, self.kernel, variant, self.dangers.pace, self._kill)

        process.worker = worker.Worker(
            build_context(spec),
            storage_of(study),
            study,
            _TraceListener(self.kernel, process),
            Budget.of(spec.search, study),
            RequestedStop(study=study, known=read_stop_request(study).search),
            build_trainer=build_trainer,
        )
        process.worker.run()

    def _restart(self, process: SimulatedProcess) -> None:
        self._start_worker(process.machine, delay=self.kernel.random.choice((0.0, 1.0, 100.0)))

    def _kill(self, process: SimulatedProcess) -> None:
        self._restart(process)
        self.kernel.kill(process)

    # --- events ---

    def _strike(self, process: SimulatedProcess, name: str) -> None:
        """Let something happen to the process at a point, or nothing."""
        dangers, draw = self.dangers, self.kernel.random.random
        if self.is_calm or self.events >= dangers.most:
            if draw() < dangers.switch:
                self.kernel.sleep(0.0)
            return
        if draw() < dangers.kill and self._may_kill(process):
            self.events += 1
            self.kernel.log(process, f"is killed at {name}")
            self._kill(process)
        if draw() < dangers.signal:
            self.events += 1
            self.kernel.log(process, f"is asked to stop at {name}")
            process.pending_signals.append(SIGTERM)
        if draw() < dangers.suspend:
            self.events += 1
            process.suspended_until = self.kernel.now + self.kernel.random.uniform(*LONG_SUSPENSION)
            self.kernel.log(process, f"is suspended until {process.suspended_until:.0f} at {name}")
        if draw() < dangers.clock_jump:
            self.events += 1
            self._set_clock(process)
        if draw() < dangers.outage:
            self.events += 1
            self.faults.away_until = self.kernel.now + self.kernel.random.choice((2.0, 60.0, 400.0))
            self.kernel.log(process, f"the store is away until {self.faults.away_until:.0f}")
        if draw() < dangers.stop_command:
            self.events += 1
            self.kernel.start(SimulatedProcess("hpo stop", process.machine), self._request_stop)
        if process.pending_signals or process.suspended_until > self.kernel.now or draw() < dangers.switch:
            self.kernel.sleep(0.0)

    def _set_clock(self, process: SimulatedProcess) -> None:
        seconds = self.kernel.random.choice((-3600.0, -90.0, 90.0, 3600.0))
        if self.kernel.random.random() < 0.5:
            process.machine.clock_offset += seconds
        else:
            self.kernel.server_offset += seconds
        self.kernel.log(process, f"a clock is set by {seconds:g} s")

    def _request_stop(self) -> None:
        self.kernel.log(None, "hpo stop")
        request_stop(self.study)

    def _may_kill(self, process: SimulatedProcess) -> bool:
        """Whether a process may be killed here: not so often at one point of a trial that the trial seems to kill it.

        Kills of real workers come at any of thousands of steps.
        """
        point = self._find_point(process)
        if point is None:
            return True
        self._deaths[point] += 1
        return self._deaths[point] < MAX_DEATHS

    def _find_point(self, process: SimulatedProcess) -> tuple[int, int, int] | None:
        """Return trial, step and position that will be blamed for the end of a process."""
        watch = getattr(process.worker, "watch", None)
        if watch is None:
            return None
        with closing(sqlite3.connect(self.folder / "store.db")) as store:
            row = store.execute(_QUERY_RUNNING, (f"%{watch.lock.identity.id}%",)).fetchone()
        if row is None:
            return None
        progress = read_progress(watch.lock.identity, self.specs[process.machine.name].folder)
        if progress is None or progress.trial != row[0]:
            return row[0], 0, 0
        return row[0], progress.step, progress.position


@contextmanager
def simulated_hpo(kernel: Kernel) -> Iterator[None]:
    """Simulate the environment of the worker, and leave out what imports torch."""
    state = random.getstate()
    with ExitStack() as stack:
        stack.callback(random.setstate, state)
        random.seed(0)  # Optuna draws pauses from it
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(without_torch())
        stack.enter_context(simulated_environment(kernel))
        yield


@contextmanager
def memory_folder() -> Iterator[Path]:
    """Yield a temporary folder in memory, if the machine has one."""
    parent = MEMORY_FOLDER if os.access(MEMORY_FOLDER, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hpo-simulation-", dir=parent) as folder:
        yield Path(folder)


class _TraceListener(SearchListener):
    """Adds what a worker reports to the trace."""

    def __init__(self, kernel: Kernel, process: SimulatedProcess) -> None:
        self.kernel, self.process = kernel, process

    def notice(self, text: str) -> None:
        self.kernel.log(self.process, f"notice: {text}")

    def begins(self, number: int, values: Any, budget: Any) -> None:
        self.kernel.log(self.process, f"trial #{number} begins: {values}")

    def rung(self, rung: int, value: float) -> None:
        self.kernel.log(self.process, f"rung {rung}: {value}")

    def ends(self, trial: Any, study: Any) -> None:
        self.kernel.log(
            self.process,
            f"trial #{trial.number} ends: {trial.state.name} {trial.values} {trial.user_attrs.get('reason', '')}",
        )
