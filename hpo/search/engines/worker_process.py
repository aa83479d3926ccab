"""A worker in a process of its own on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from queue import SimpleQueue
from typing import Any

from hpo.search.engines.base import WorkerRequest
from hpo.search.engines.messages import FAILED, WorkerMessage, parse_message

INTERRUPTED = 130  # exit code of a worker that was asked to stop
LAST_LINES = 3  # of what a worker that died has printed
DRAIN_SECONDS = 2.0  # to read the last messages of a process that has ended


@dataclass(frozen=True)
class WorkerEnd:
    """How a worker ended."""

    reason: str | None  # why it died; None if it has done its work, or failed with an error for the user
    error: Mapping[str, Any] | None = None  # `describe_error` of the HpoError that it failed with
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkerReport:
    """What is new about a worker since the last report."""

    messages: tuple[WorkerMessage, ...] = ()
    end: WorkerEnd | None = None


class WorkerProcess:
    """A running `python -m hpo.search.engines.worker_main`."""

    is_waiting = False  # it starts at once

    def __init__(self, request: WorkerRequest, environment: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the process that writes to it
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "hpo.search.engines.worker_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            # Ctrl-C in a terminal reaches the whole process group; only the parent should handle it.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        # Through standard input, because a storage URL may hold a password and `ps` shows arguments to everyone.
        with suppress(BrokenPipeError):  # it is dead already, as `poll` will say
            self._process.stdin.write(json.dumps(asdict(request)).encode())
            self._process.stdin.close()
        self._messages: SimpleQueue[WorkerMessage] = SimpleQueue()
        self._end: WorkerEnd | None = None
        self._error: Mapping[str, Any] | None = None
        # A thread, because a worker must not wait for a parent that is busy.
        self._reader = threading.Thread(target=self._read_messages, daemon=True)
        self._reader.start()

    def poll(self) -> WorkerReport:
        """Return the messages since the last call, and how the process ended if it has."""
        if self._end is None and self._process.poll() is not None:
            self._end = self._read_end()
        messages = [self._messages.get() for _ in range(self._messages.qsize())]
        return WorkerReport(tuple(messages), self._end)

    def stop(self) -> None:
        """Ask the worker to end after its current step."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self, patience: float = 0.0) -> None:
        """End the process if it has not ended by itself after so many seconds."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.wait()
        self._end = self._end or self._read_end()

    def _read_messages(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                message = parse_message(line.decode(errors="replace"))
                if message is None:
                    continue
                if message.kind == FAILED:
                    self._error = message.content
                else:
                    self._messages.put(message)

    def _read_end(self) -> WorkerEnd:
        """Return how the process has ended, after its last message."""
        self._reader.join(DRAIN_SECONDS)  # no longer, because a child of the worker may keep the pipe open
        with self._log as log:
            log.seek(0)
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        code = self._process.returncode
        if code == 0 or self._error:
            return WorkerEnd(None, self._error)
        return WorkerEnd(_describe_exit(code), last_lines=tuple(lines[-LAST_LINES:]))


class ChildWorker(WorkerProcess):
    """A worker whose parent is the process that creates this object, on whatever machine that is."""

    def __init__(self, request: WorkerRequest) -> None:
        super().__init__(replace(request, parent=os.getpid()), os.environ)


def _describe_exit(code: int) -> str:
    if code == INTERRUPTED:
        return "was stopped by a signal"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
