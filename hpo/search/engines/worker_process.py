"""A worker in a process of its own on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict

from hpo.search.engines.base import WorkerRequest

EXPECTED_EXITS = (0, 130)  # done, interrupted


class WorkerProcess:
    """A running `python -m hpo.search.worker`."""

    def __init__(self, request: WorkerRequest, environment: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the process that writes to it
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "hpo.search.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env=environment,
            # Ctrl-C in a terminal reaches the whole process group; only the parent should handle it.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        # Through standard input, because a storage URL may hold a password and `ps` shows arguments to everyone.
        self._process.stdin.write(json.dumps(asdict(request)).encode())
        self._process.stdin.close()

    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask the worker to end after its current step."""
        if self.is_running():
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> str | None:
        """Wait for the end of the process and return why it failed, or None if it did not."""
        code = self._process.wait()
        with self._log as log:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
        if code in EXPECTED_EXITS:
            return None
        return lines[-1] if lines else f"exit code {code} without a message; it was killed, or ran out of memory"
