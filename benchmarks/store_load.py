"""Many workers on one store: PostgreSQL, PostgreSQL with few connections, and SQLite.

    python -m benchmarks.store_load [--write] [--small]

Workers are real processes that run the real worker loop without torch: a training step is a pause. So the time that
the store takes shows, on a machine with fewer processors than workers. Every field of every trial is checked.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from benchmarks.results import markdown_table, write_table
from benchmarks.worker_simulation.invariants import check_study
from benchmarks.worker_simulation.scenario import memory_folder
from benchmarks.worker_simulation.studies import (
    NAME,
    StudyTemplate,
    Variant,
    build_context,
    create_study,
    without_torch,
)
from benchmarks.worker_simulation.trainer import SimulatedTrainer
from hpo.search.budget import Budget
from hpo.search.requested_stop import RequestedStop
from hpo.search.search_listener import SearchListener
from hpo.search.worker import Worker
from hpo.store.optuna_internals import storage_of
from hpo.store.storage import default_storage_url, open_storage
from tests.support.postgresql import run_server

PACE = 1.0  # seconds of a training step, 6 of which make a trial
PORT = 54337
GO = "go"  # a file whose appearance starts the workers, after all of them have imported everything


class RealClock:
    """What a SimulatedTrainer needs of a kernel, in real time."""

    process = None

    def __init__(self) -> None:
        self.random = random.Random(0)
        self.sleep = time.sleep


@dataclass(frozen=True)
class Load:
    """Workers and trials on a store."""

    store: str
    workers: int
    trials: int  # of each worker
    options: str | None = None  # of the PostgreSQL server; None for SQLite

    @contextmanager
    def open_store(self, folder: Path) -> Iterator[str]:
        """Yield the URL of an empty store."""
        if self.options is None:
            yield default_storage_url(folder)
            return
        with run_server(PORT, self.options) as server:
            yield server.url


LOADS = (
    Load("PostgreSQL", 1, 10, ""),
    Load("PostgreSQL", 16, 25, ""),
    Load("PostgreSQL, max_connections = 10", 8, 25, "-c max_connections=10"),
    Load("SQLite", 1, 10),
    Load("SQLite", 8, 50),
)
SMALL = (Load("PostgreSQL", 2, 2, ""), Load("SQLite", 2, 2))


def work(url: str, folder: Path, trials: int, pace: float) -> None:
    """Run one worker until the budget is spent."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    spec = build_template(folder, trials).load_spec(folder)
    print("ready", flush=True)
    while not (folder / GO).exists():
        time.sleep(0.05)
    storage = open_storage(url)
    study = optuna.load_study(study_name=NAME, storage=storage)
    clock: Any = RealClock()

    def build_trainer(context: Any, run_trial: Callable[..., float]) -> SimulatedTrainer:
        return SimulatedTrainer(context, run_trial, clock, Variant(), pace, lambda process: None)

    budget, stop = Budget.of(spec.search, study), RequestedStop(study=study)
    context, storage = build_context(spec), storage_of(study)
    Worker(context, storage, study, SearchListener(), budget, stop, build_trainer=build_trainer).run()


def build_template(folder: Path, trials: int) -> StudyTemplate:
    """Return the study: no trial is pruned, so that all take the same time."""
    return StudyTemplate(Variant(pruner="none", starts=2, trials=trials, rungs=(0.25, 0.5, 1.0)), folder)


def measure(load: Load, pace: float) -> tuple[float, list[str]]:
    """Run a load; return trials per minute and what is wrong with the stored trials."""
    total = load.workers * load.trials
    with memory_folder() as folder, load.open_store(folder) as url:
        template = build_template(folder, total)
        create_study(template.load_spec(folder), url)
        arguments = ["--worker", url, str(folder), str(total), str(pace)]
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.store_load", *arguments]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(load.workers)]
        for worker in workers:
            assert worker.stdout and worker.stdout.readline() == "ready\n"
        started = time.monotonic()
        (folder / GO).touch()
        codes = [worker.wait() for worker in workers]
        seconds = time.monotonic() - started
        trials = optuna.load_study(study_name=NAME, storage=open_storage(url)).get_trials(deepcopy=False)
    violations = [f"a worker ended with {code}" for code in codes if code]
    return 60 * total / seconds, violations + list(check_study(template, trials, load.workers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the figures to RESULTS.md")
    parser.add_argument("--small", action="store_true", help="a few short trials; the table is only printed")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        url, folder, trials, pace = options.worker
        with without_torch():
            work(url, Path(folder), int(trials), float(pace))
        return
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    rows: list[list[object]] = []
    single: dict[str, float] = {}
    wrong: list[str] = []
    for load in SMALL if options.small else LOADS:
        rate, violations = measure(load, 0.05 if options.small else PACE)
        wrong += violations
        kind = load.store.partition(",")[0]
        single.setdefault(kind, rate / load.workers)
        share = rate / load.workers / single[kind]
        trials = load.workers * load.trials
        rows.append([load.store, load.workers, trials, len(violations), f"{rate:.1f}", f"{share:.0%}"])
        print(*rows[-1], *violations, sep=" | ", flush=True)
    table = markdown_table(["store", "workers", "trials", "wrong fields", "trials per minute", "of linear"], rows)
    if options.write:
        write_table("store_load", f"search.seed 0, {PACE:g} s per step, 6 steps per trial", table)
    else:
        print(table)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
