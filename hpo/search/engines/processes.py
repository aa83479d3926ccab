"""Engine `processes`: workers as processes on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hpo.search.engines.base import SearchRun
from hpo.search.engines.supervisor import Supervisor
from hpo.search.engines.worker_process import WorkerProcess

_THREADS, _DEVICES = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"


def run_processes(search: SearchRun) -> None:
    """Run each worker with its share of the processor's threads and, if there are several, one accelerator."""

    def start(index: int) -> WorkerProcess:
        environment = worker_environment(index, search.spec.search.workers, search.devices, os.environ)
        return WorkerProcess(search.worker_request(), environment)

    Supervisor(search, start).run()


def worker_environment(index: int, workers: int, devices: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of one of the workers: its threads, unless the user has set them, and its device.

    With more workers than devices, several share one.
    """
    changed = {_THREADS: str(max(1, count_processors() // workers)), **environment}
    if devices > 1:
        names = environment[_DEVICES].split(",") if environment.get(_DEVICES) else list(map(str, range(devices)))
        changed[_DEVICES] = names[index % len(names)]
    return changed


def count_processors() -> int:
    """Return the number of processors that this process may use, which batch systems and containers limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
