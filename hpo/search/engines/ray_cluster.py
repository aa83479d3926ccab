"""Engine `ray`: workers as tasks of a Ray cluster."""

from __future__ import annotations

import os
from dataclasses import replace

from hpo.search.engines.base import POLL_SECONDS, SearchRun, TrialWatcher, WorkerRequest, report_failures
from hpo.search.engines.worker_process import WorkerProcess
from hpo.search.signals import StopSignal


def run_ray(search: SearchRun) -> None:
    """Run the workers on the cluster of RAY_ADDRESS, or on this machine without one.

    The study file, its data and the storage URL must be reachable from every node.
    """
    try:
        import ray
    except ImportError:
        raise search.spec.error("search.engine", "is 'ray', which is not installed: pip install 'hpo[ray]'") from None

    ray.init(ignore_reinit_error=True, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    gpus = 1 if ray.cluster_resources().get("GPU") else 0

    # A process of its own for each task, so that a node needs no more than Python and this package.
    @ray.remote(num_gpus=gpus, max_retries=0)  # type: ignore[untyped-decorator]
    def run_worker(request: WorkerRequest) -> str | None:
        return WorkerProcess(replace(request, parent=os.getpid()), dict(os.environ)).wait()

    watcher = TrialWatcher(search)
    with StopSignal().on_signals():
        pending = [run_worker.remote(search.worker_request()) for _ in range(search.spec.search.workers)]
        try:
            reasons: list[str | None] = []
            while pending:
                done, pending = ray.wait(pending, timeout=POLL_SECONDS)
                reasons += ray.get(done)
                watcher.report()
        finally:
            # Tasks end with the cluster, and a worker whose parent has ended closes its trial by itself.
            ray.shutdown()
    report_failures(search, [reason for reason in reasons if reason])
