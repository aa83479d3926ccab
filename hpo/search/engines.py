"""ENGINES: where workers run (this process, local processes, Ray)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import optuna

from hpo.errors import TrainingError, unknown_name
from hpo.search import gain
from hpo.search.budget import Budget, count_finished, stop_message
from hpo.search.search_listener import SearchListener
from hpo.search.signals import StopSignal
from hpo.search.worker import Worker, open_search
from hpo.store.trial_state import SURPLUS, outcome
from hpo.study.spec import StudySpec
from hpo.training.context import RunContext

POLL_SECONDS = 0.5  # seconds between two looks at the store


@dataclass
class SearchRun:
    """A search that is ready to run: its task, and the open study."""

    task: RunContext
    storage: optuna.storages.BaseStorage
    study: optuna.Study
    url: str
    listener: SearchListener

    @property
    def spec(self) -> StudySpec:
        """The study."""
        return self.task.spec

    def orders(self) -> dict[str, Any]:
        """What a worker elsewhere needs to know, as JSON values."""
        spec = self.spec
        overrides = [*spec.overrides, f'name="{spec.name}"', f"search.trials={spec.search.trials}"]
        if spec.search.timeout is not None:
            overrides.append(f"search.timeout={spec.search.timeout}")
        return {"file": str(spec.file.resolve()), "overrides": overrides, "storage": self.url, "parent": os.getpid()}


def run_inline(search: SearchRun) -> None:
    """One worker, in this process."""
    budget = Budget.of(search.spec.search, search.study)
    Worker(search.task, search.storage, search.study, search.listener, budget).run()


def run_processes(search: SearchRun) -> None:
    """`search.workers` processes on this machine; each its share of the processor's threads and one accelerator."""
    workers = search.spec.search.workers
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    started: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
    stop = StopSignal()
    watch = _Watch(search)
    with stop.on_signals():
        try:
            for number in range(workers):
                environment = {**os.environ, "OMP_NUM_THREADS": threads}
                if devices := _devices():
                    environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
                started.append(_start(search.orders(), environment))
            while any(process.poll() is None for process, _ in started):
                watch.look()
                time.sleep(POLL_SECONDS)
        finally:
            _end(started)
            watch.look()
    words = [(process.returncode, _last_line(log)) for process, log in started]
    _tell_failures(search, [line for code, line in words if code not in (0, 130)])


def run_ray(search: SearchRun) -> None:
    """`search.workers` tasks on a Ray cluster (address from RAY_ADDRESS, else this machine).

    The study file, its data and the storage URL must be reachable from every node.
    """
    try:
        import ray
    except ImportError:
        raise search.spec.error("search.engine", "is 'ray', which is not installed: pip install 'hpo[ray]'") from None

    ray.init(ignore_reinit_error=True, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    gpus = 1 if ray.cluster_resources().get("GPU") else 0

    @ray.remote(num_gpus=gpus, max_retries=0)  # type: ignore[untyped-decorator]
    def work(orders: dict[str, Any]) -> str:
        """A worker process of its own, so that a Ray node needs no more than Python and this package."""
        process, log = _start({**orders, "parent": os.getpid()}, dict(os.environ))
        process.wait()
        line = _last_line(log)
        return "" if process.returncode in (0, 130) else line

    watch = _Watch(search)
    stop = StopSignal()
    with stop.on_signals():
        pending = [work.remote(search.orders()) for _ in range(search.spec.search.workers)]
        try:
            failed = []
            while pending:
                done, pending = ray.wait(pending, timeout=POLL_SECONDS)
                failed += [line for line in ray.get(done) if line]
                watch.look()
        finally:
            ray.shutdown()
    _tell_failures(search, failed)


ENGINES: dict[str, Callable[[SearchRun], None]] = {"inline": run_inline, "processes": run_processes, "ray": run_ray}


def choose_engine(spec: StudySpec) -> Callable[[SearchRun], None]:
    """The engine of a study: the named one, else this process for one worker and processes for more.

    Raises SpecError for an unknown name, and for more than one worker in this process.
    """
    name = spec.search.engine or ("inline" if spec.search.workers == 1 else "processes")
    if name not in ENGINES:
        raise spec.error("search.engine", f"is {name!r}; it {unknown_name(name, ENGINES)}")
    if name == "inline" and spec.search.workers > 1:
        raise spec.error("search.workers", f"is {spec.search.workers}; engine inline runs one, processes runs many")
    return ENGINES[name]


def run_search(spec: StudySpec, url: str, listener: SearchListener) -> optuna.Study:
    """The study after its budget is spent; it is made, or continued where it stood.

    Raises HpoError for anything the user can mend, before the store is touched, and KeyboardInterrupt when asked to
    stop, with every trial closed.
    """
    engine = choose_engine(spec)
    task, storage, study = open_search(spec, url, listener)
    listener.opens(study)
    done = count_finished(study.get_trials(deepcopy=False))
    if done:
        listener.notice(f"continuing: {done} of {spec.search.trials} trials finished")
    engine(SearchRun(task, storage, study, url, listener))
    if over := stop_message(study.user_attrs):
        listener.notice(over)
    if engine is run_inline:
        gain.remember(task, study, before=done)
    return study


def _devices() -> list[str]:
    """The accelerators to share out, as CUDA_VISIBLE_DEVICES names them; none where there is but one."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (visible.split(",") if visible else [str(number) for number in range(count)]) if count > 1 else []


def _tell_failures(search: SearchRun, failed: list[str]) -> None:
    """Raise TrainingError for workers that failed, or only tell where the others have filled the budget."""
    if not failed:
        return
    told = f"{len(failed)} of {search.spec.search.workers} workers failed; the last one: {failed[-1]}"
    if count_finished(search.study.get_trials(deepcopy=False)) < search.spec.search.trials:
        raise TrainingError(told)
    search.listener.notice(told)


class _Watch:
    """Tells the listener of trials that end in other processes, each once."""

    def __init__(self, search: SearchRun) -> None:
        self.search = search
        self.told = {trial.number for trial in search.study.get_trials(deepcopy=False) if trial.state.is_finished()}

    def look(self) -> None:
        for trial in self.search.study.get_trials(deepcopy=False):
            if trial.state.is_finished() and trial.number not in self.told:
                self.told.add(trial.number)
                if outcome(trial) != SURPLUS:
                    self.search.listener.ends(trial, self.search.study)
        self.search.listener.runs(self.search.study)


def _start(orders: dict[str, Any], environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """A worker process; orders go through its standard input, where no list of processes shows a password."""
    log = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the process that writes to it
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "hpo.search.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=log,
        env=environment,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(orders).encode())
    process.stdin.close()
    return process, log


def _end(started: list[tuple[subprocess.Popen[bytes], IO[bytes]]]) -> None:
    """Ask those that still run to end after their step, and wait until they have."""
    for process, _ in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process, _ in started:
        process.wait()


def _last_line(log: IO[bytes]) -> str:
    with log:
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no word; it was killed, or there was no memory left for it"
