"""Run `hpo` commands in processes that are forked from one that has imported everything, and kill them.

Importing torch and transformers takes most of a command's time, and none of its work. A forked command is a process of
its own, with its own session, environment and random generators; what kills it is a real SIGKILL. Workers of
`--workers 2` are started by hpo itself, as always.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

PRELOADED = [
    "hpo.cli",
    "hpo.api",
    "hpo.evaluation.baselines",
    "hpo.evaluation.comparison",
    "hpo.evaluation.retraining",
    "hpo.export.formats",
    "hpo.report.render",
    "hpo.search.engines.worker_main",
    "hpo.search.worker",
    "hpo.terminal.progress",
    "hpo.terminal.tables",
]
KILLED = -signal.SIGKILL
TIMEOUT = 300.0  # seconds after which a command counts as hanging
POLL_SECONDS = 0.002

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True)
class Place:
    """Where a command runs: a project, and temporary files, a cache and an output of its own."""

    root: Path

    @property
    def project(self) -> Path:
        """The working directory."""
        return self.root / "project"

    @property
    def environment(self) -> dict[str, str]:
        """What the processes of the command get."""
        return {
            "TMPDIR": str(self.root / "tmp"),
            "HPO_CACHE": str(self.root / "cache"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }

    def create(self) -> None:
        """Create the folders."""
        for name in ("project", "tmp", "cache"):
            (self.root / name).mkdir(parents=True, exist_ok=True)


def start_server() -> None:
    """Start the process from which commands are forked, which takes seconds."""
    process = _server.Process(target=_do_nothing)
    process.start()
    process.join()


def _do_nothing() -> None:
    pass


class ForkedCommand:
    """A running command. Its output goes to a file."""

    def __init__(self, arguments: Sequence[str], place: Place) -> None:
        self.output = place.root / "output.txt"
        self.started = time.monotonic()
        self._process: BaseProcess = _server.Process(target=_run, args=(list(arguments), place, self.output))
        self._process.start()

    def wait(self, seconds: float = TIMEOUT) -> int | None:
        """Return the exit code, or None if the command still runs after so many seconds."""
        self._process.join(max(0.0, seconds))
        return self._process.exitcode

    def send(self, number: int) -> None:
        """Send a signal to the process of the command, but not to its workers."""
        with suppress(ProcessLookupError):
            os.kill(self._process.pid or 0, number)

    def workers(self) -> list[psutil.Process]:
        """Return the processes that the command has started."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def kill_all(self) -> bool:
        """Kill the command and all that it has started; return whether the command was still running."""
        workers = self.workers()
        self.send(signal.SIGKILL)
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        return self.wait() == KILLED

    def read_output(self) -> str:
        """Return what the command has printed so far."""
        return self.output.read_text("utf8", errors="replace") if self.output.exists() else ""


class NewFiles:
    """Counts the files and folders that have appeared in some folders, and writes to the store's log."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.count = 0
        self._seen = self._read()

    def update(self) -> int:
        """Return how many have appeared since the beginning."""
        now = self._read()
        self.count += len(now - self._seen)
        self._seen |= now
        return self.count

    def _read(self) -> set[tuple[str, int]]:
        seen: set[tuple[str, int]] = set()
        pending = list(map(str, self.folders))
        while pending:
            with suppress(OSError), os.scandir(pending.pop()) as entries:
                for entry in entries:
                    is_log = entry.name.endswith("-wal")
                    seen.add((entry.path, entry.stat().st_mtime_ns if is_log else 0))
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        return seen


def _run(arguments: list[str], place: Place, output: Path) -> None:
    """Be the process of `hpo ARGUMENTS`."""
    import numpy as np

    from hpo.cli import main

    os.setsid()
    os.chdir(place.project)
    os.environ.update(place.environment)
    tempfile.tempdir = None
    # All forked processes have the generators of their parent, whereas new ones begin with different states.
    random.seed()
    np.random.seed()
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)
    sys.argv = ["hpo", *arguments]
    main()
