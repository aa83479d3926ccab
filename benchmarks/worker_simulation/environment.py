"""What the simulated processes see instead of the operating system: its clock, files, locks, signals and threads."""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import optuna.study._optimize
from optuna.storages._heartbeat import BaseHeartbeatThread

from benchmarks.worker_simulation.kernel import EPOCH, Kernel, Unwound
from hpo.search import signals
from hpo.store import database, worker_lock

WRITES = ("rename", "replace", "mkdir", "unlink", "rmdir", "pwrite", "fsync")
POLL_SECONDS = 0.05  # of a process that waits for a lock
SERVER_TIME = "%Y-%m-%d %H:%M:%S"


@contextmanager
def simulated_environment(kernel: Kernel) -> Iterator[None]:
    """Let the simulated threads see the virtual world while the block runs. Other threads see the real one."""
    kernel.close_file = os.close
    numbers = itertools.count(1)

    def random_hex(size: int) -> str:
        return f"{next(numbers):0{size}x}"

    replaced: list[tuple[Any, str, Any]] = [
        (time, "monotonic", _if_simulated(kernel, lambda: kernel.now, time.monotonic)),
        (time, "time", _if_simulated(kernel, kernel.wall_clock, time.time)),
        (time, "sleep", _if_simulated(kernel, kernel.sleep, time.sleep)),
        (uuid, "uuid4", lambda: SimpleNamespace(hex=random_hex(32))),
        (secrets, "token_hex", lambda size: random_hex(2 * size)),
        (os, "open", partial(_open, kernel, os.open)),
        (os, "close", partial(_close, kernel, os.close)),
        (fcntl, "flock", partial(_flock, kernel, fcntl.flock)),
        *((os, name, partial(_write, kernel, name, getattr(os, name))) for name in WRITES),
        (worker_lock, "_boot_id", lambda: kernel.process and kernel.process.machine.name),
        (database, "BUSY_TIMEOUT", 0),  # SQLite's own wait would be real
        (signals, "signal", SimpleNamespace(signal=partial(_set_handler, kernel), SIGINT=2, SIGTERM=15)),
        (
            signals,
            "threading",
            SimpleNamespace(current_thread=threading.main_thread, main_thread=threading.main_thread),
        ),
        (optuna.study._optimize, "get_heartbeat_thread", partial(HeartbeatThread, kernel)),
    ]
    with ExitStack() as stack:
        for owner, name, value in replaced:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


class HeartbeatThread(BaseHeartbeatThread):
    """Optuna's heartbeat thread on the virtual clock."""

    def __init__(self, kernel: Kernel, trial_id: int, storage: Any) -> None:
        self.kernel, self.trial_id, self.storage = kernel, trial_id, storage
        self.is_joined = False

    def start(self) -> None:
        """Begin to record heartbeats."""
        self.kernel.start_thread(self._record)

    def join(self) -> None:
        """End, at the latest before the next heartbeat."""
        self.is_joined = True

    def _record(self) -> None:
        while not self.is_joined:
            self.storage.record_heartbeat(self.trial_id)
            self.kernel.sleep(database.HEARTBEAT_INTERVAL)


def server_time(kernel: Kernel) -> str:
    """Return what CURRENT_TIMESTAMP is in the simulated store."""
    return datetime.fromtimestamp(EPOCH + kernel.now + kernel.server_offset, UTC).strftime(SERVER_TIME)


def _if_simulated(kernel: Kernel, simulated: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: (simulated if kernel.process else real)(*arguments)


def _open(kernel: Kernel, real: Callable[..., int], *arguments: Any, **options: Any) -> int:
    if process := kernel.process:
        if not process.is_alive:
            raise Unwound
        process.files.add(handle := real(*arguments, **options))
        return handle
    return real(*arguments, **options)


def _close(kernel: Kernel, real: Callable[[int], None], handle: int) -> None:
    if process := kernel.process:
        if not process.is_alive:
            raise Unwound  # the kernel has closed it, and its number may belong to another file
        process.files.discard(handle)
    real(handle)


def _write(kernel: Kernel, name: str, real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    kernel.point(name)
    return real(*arguments, **options)


def _flock(kernel: Kernel, real: Callable[[int, int], None], handle: int, operation: int) -> None:
    """Lock an open file. If that has to wait, other simulated threads run meanwhile."""
    if kernel.process is None or operation & (fcntl.LOCK_NB | fcntl.LOCK_UN):
        real(handle, operation)
        return
    while True:
        try:
            real(handle, operation | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            kernel.sleep(POLL_SECONDS)


def _set_handler(kernel: Kernel, number: int, handler: Any) -> Any:
    process = kernel.process
    assert process
    before = process.handlers.pop(number, None)
    if handler is not None:
        process.handlers[number] = handler
    return before


SIGTERM = int(signal.SIGTERM)
