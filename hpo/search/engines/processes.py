"""Engine `processes`: workers as processes on this machine."""

from __future__ import annotations

import os
import time

from hpo.search.engines.base import POLL_SECONDS, SearchRun, TrialWatcher, report_failures
from hpo.search.engines.worker_process import WorkerProcess
from hpo.search.signals import StopSignal


def run_processes(search: SearchRun) -> None:
    """Run each worker with its share of the processor's threads and, if there are several, one accelerator."""
    count = search.spec.search.workers
    threads = str(max(1, (os.cpu_count() or 1) // count))
    devices = _visible_devices()
    workers: list[WorkerProcess] = []
    watcher = TrialWatcher(search)
    with StopSignal().on_signals():
        try:
            for number in range(count):
                environment = {**os.environ, "OMP_NUM_THREADS": threads}
                if devices:
                    environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
                workers.append(WorkerProcess(search.worker_request(), environment))
            while any(worker.is_running() for worker in workers):
                watcher.report()
                time.sleep(POLL_SECONDS)
        finally:
            for worker in workers:
                worker.stop()
            reasons = [worker.wait() for worker in workers]
            watcher.report()
    report_failures(search, [reason for reason in reasons if reason])


def _visible_devices() -> list[str]:
    """Return the accelerators to distribute, as CUDA_VISIBLE_DEVICES names them; none if there is only one."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (visible.split(",") if visible else [str(number) for number in range(count)]) if count > 1 else []
