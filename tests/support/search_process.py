"""Run a command in a process of its own that is killed, or gets another signal, at a chosen point.

Processes are forked from a server that has imported everything, so that each takes a second less than its search.
"""

from __future__ import annotations

import multiprocessing
import operator
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

# Loaded once, in the server that children are forked from.
from hpo import Study
from hpo.evaluation.retraining import train_run  # noqa: F401
from hpo.evaluation.run_listener import RunListener
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.search.worker import Worker  # noqa: F401
from hpo.study.spec import load_study

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([__name__])
KILLED = -signal.SIGKILL
TIMEOUT = 120


@dataclass(frozen=True)
class SignalPoint:
    """The call of a function at which the process gets a signal: `module:Class.method`, the how many-th call."""

    target: str
    call: int
    after: bool = False
    signal: int = signal.SIGKILL

    def install(self) -> None:
        """Replace the function by one that sends the signal."""
        module, _, path = self.target.partition(":")
        owner_path, _, name = path.rpartition(".")
        owner = operator.attrgetter(owner_path)(import_module(module)) if owner_path else import_module(module)
        original, calls = getattr(owner, name), iter(range(1, 10**9))

        @wraps(original)
        def send_signal(*arguments: Any, **options: Any) -> Any:
            is_now = next(calls) == self.call
            if is_now and not self.after:
                os.kill(os.getpid(), self.signal)
            result = original(*arguments, **options)
            if is_now and self.after:
                os.kill(os.getpid(), self.signal)
            return result

        setattr(owner, name, send_signal)


class NoticeListener(SearchListener):
    """Collects the notices of a search."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        """Keep a notice."""
        self.notices.append(text)


def start_process(point: SignalPoint | None, function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Start a function in a process of its own."""
    process = _server.Process(target=_call, args=(point, function, *arguments), daemon=True)
    process.start()
    return process


def run_process(point: SignalPoint | None, function: Callable[..., Any], *arguments: Any) -> int | None:
    """Run a function in a process of its own and return its exit code."""
    process = start_process(point, function, *arguments)
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
    return process.exitcode


def search(file: Path, overrides: tuple[str, ...], url: str) -> None:
    """Run a search."""
    run_search(load_study(file, overrides), url, SearchListener())


def retrain(file: Path, overrides: tuple[str, ...], url: str) -> None:
    """Retrain the winner of a search."""
    Study(file, *overrides, storage=url).retrain(listener=RunListener())


def wait_until_stopped(process: BaseProcess) -> None:
    """Wait until SIGSTOP has suspended the process."""
    deadline = time.monotonic() + TIMEOUT
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.05)


def _call(point: SignalPoint | None, function: Callable[..., Any], *arguments: Any) -> None:
    if point is not None:
        point.install()
    try:
        function(*arguments)
    except KeyboardInterrupt:
        sys.exit(130)  # which waits for threads, as the end of a command does
