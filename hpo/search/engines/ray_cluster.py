"""Engine `ray`: workers as actors of a Ray cluster."""

from __future__ import annotations

import os
import socket
import time
from math import ceil
from typing import Any

from hpo.errors import StoreError, first_line
from hpo.search.engines.base import SearchRun
from hpo.search.engines.messages import NOTICE, WorkerMessage
from hpo.search.engines.ray_internals import silence_cluster_errors
from hpo.search.engines.supervisor import Supervisor
from hpo.search.engines.worker_process import ChildWorker, WorkerEnd, WorkerReport
from hpo.store.storage import sqlite_file
from hpo.study.spec import StudySpec
from hpo.study.storage_url import StorageUrl

ADDRESS = "RAY_ADDRESS"
CONNECT_SECONDS = 10.0
PATIENCE = 10.0  # seconds until the user is told what a worker waits for
# What a client of HTTP/2, and so of gRPC, says first; the server answers with a frame of its settings.
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_FRAME_HEADER, _TYPE_OF_FRAME, _SETTINGS = 9, 3, 4


def run_ray(search: SearchRun) -> None:
    """Run the workers on the cluster of RAY_ADDRESS, or on this machine without one.

    Each worker gets one processor and, if the cluster has GPUs, one of them or an equal share. The data and the storage
    URL must be reachable from every node; the study file need not be.
    """
    ray = connect_cluster(search.spec, search.url)
    try:
        cluster = RayWorkers(ray, search)
        Supervisor(search, cluster.start).run()
    finally:
        ray.shutdown()


def connect_cluster(spec: StudySpec, url: str) -> Any:
    """Connect to the cluster, unless this process is connected already, and return the library.

    Raises SpecError without Ray or if no cluster answers, and StoreError for a store that its machines
    cannot share.
    """
    try:
        import ray
    except ImportError:
        raise spec.error("search.engine", "is 'ray', which is not installed: pip install 'hpo[ray]'") from None
    if not ray.is_initialized():
        check_address(spec, os.environ.get(ADDRESS, ""))
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise spec.error("search.engine", f"is 'ray', but no cluster can be reached: {first_line(error)}") from None
    silence_cluster_errors()
    addresses = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")}
    if sqlite_file(url) and len(addresses) > 1:
        ray.shutdown()
        raise StoreError(
            f"storage {StorageUrl.parse(url)}: the Ray cluster has {len(addresses)} machines, which cannot share an "
            "SQLite file; use a database server: --storage postgresql://USER@HOST/DATABASE"
        )
    return ray


def check_address(spec: StudySpec, address: str) -> None:
    """Raise SpecError, within seconds, if no server of the kind that Ray has answers at RAY_ADDRESS.

    `ray.init` would try for minutes, and writes to standard error meanwhile.
    """
    host, colon, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if not colon or not port.isdecimal():
        return  # auto, local, or another way to say it, which ray.init understands
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") in ("0", ""):
                connection.sendall(_HTTP2_PREFACE)
                answer = connection.recv(_FRAME_HEADER)
                if len(answer) <= _TYPE_OF_FRAME or answer[_TYPE_OF_FRAME] != _SETTINGS:
                    raise OSError("what listens there is no Ray cluster")
    except OSError as error:
        raise spec.error(
            "search.engine",
            f"is 'ray', but nothing answers at {ADDRESS}={address} ({error}); start Ray, or unset {ADDRESS}",
        ) from None


class RayWorkers:
    """Starts the workers of a search on a cluster."""

    def __init__(self, ray: Any, search: SearchRun) -> None:
        self.ray = ray
        self.search = search
        self.is_wait_announced = False
        gpus = int(ray.cluster_resources().get("GPU", 0))
        # Several workers may share a GPU: Ray reserves 1/2 of it for each of two.
        self.gpu_share = 1 / max(1, ceil(search.spec.search.workers / gpus)) if gpus else 0
        # A process of its own in each actor, so that a trial that crashes does not take its messages along.
        self.actor = ray.remote(num_cpus=1, num_gpus=self.gpu_share, max_restarts=0)(ChildWorker)

    def start(self, _index: int) -> RayWorker:
        """Ask the cluster for another worker."""
        return RayWorker(self, self.actor.remote(self.search.worker_request()))

    def describe_wait(self) -> WorkerMessage | None:
        """Return a message about what workers wait for; None if there was one already."""
        if self.is_wait_announced:
            return None
        self.is_wait_announced = True
        needed = "1 CPU" + (f" and {self.gpu_share:.2g} GPU" if self.gpu_share else "")
        free = self.ray.available_resources()
        return WorkerMessage(NOTICE, f"waiting for {needed} of the Ray cluster, which has {free.get('CPU', 0):g} free")


class RayWorker:
    """A worker in an actor, which may still wait for a place to run."""

    def __init__(self, cluster: RayWorkers, actor: Any) -> None:
        self.is_waiting = True
        self._cluster = cluster
        self._ray = cluster.ray
        self._actor = actor
        self._asked_at = time.monotonic()
        self._answer = actor.poll.remote()

    def poll(self) -> WorkerReport:
        """Return the answer to the last question to the actor, if it is there, and ask the next one."""
        if not self._ray.wait([self._answer], timeout=0)[0]:
            is_late = self.is_waiting and time.monotonic() - self._asked_at > PATIENCE
            notice = self._cluster.describe_wait() if is_late else None
            return WorkerReport((notice,) if notice else ())
        try:
            report: WorkerReport = self._ray.get(self._answer)
        except self._ray.exceptions.ActorUnavailableError:
            report = WorkerReport()  # the network; if the actor is gone for good, the next answer says so
        except self._ray.exceptions.RayError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            return WorkerReport(end=WorkerEnd("was lost with its Ray node or actor", last_lines=tuple(lines[:1])))
        if self.is_waiting:
            self.is_waiting = self._cluster.is_wait_announced = False  # the next one that waits is announced again
        if report.end is None:
            self._answer = self._actor.poll.remote()
        return report

    def stop(self) -> None:
        """Ask the worker to end after its current step."""
        self._actor.stop.remote()

    def kill(self) -> None:
        """End the actor; a worker process whose parent has ended closes its trial by itself."""
        self._ray.kill(self._actor)
