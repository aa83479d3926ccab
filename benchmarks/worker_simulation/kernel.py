"""Simulated processes on simulated machines: one runs at a time, on a virtual clock, and any may die at any point.

Each simulated thread is a thread of Python that runs only while it has the baton, so what happens follows from the
seed. A process that is killed is never resumed: nothing of it is unwound, but the operating system closes its files and
database connections. Its threads are unwound after the simulation, when none of their effects remain.
"""

from __future__ import annotations

import random
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EPOCH = 1_800_000_000.0  # of the virtual clock, in seconds
REAL_TIMEOUT = 60.0  # seconds without a switch: the simulated code waits for something real
MAX_SWITCHES = 20_000  # a search that takes more never ends


class Unwound(BaseException):
    """Ends a thread of a dead process, after the simulation."""


class SimulationError(Exception):
    """The simulated code has failed in a way that no worker may."""


@dataclass
class Machine:
    """A machine: its own studies folder, and a wall clock that may be set."""

    name: str
    folder: Path
    clock_offset: float = 0.0


@dataclass
class SimulatedProcess:
    """A process, with what the operating system releases when it dies."""

    name: str
    machine: Machine
    is_alive: bool = True
    suspended_until: float = 0.0
    handlers: dict[int, Callable[[int, Any], None]] = field(default_factory=dict)
    pending_signals: list[int] = field(default_factory=list)
    files: set[int] = field(default_factory=set)
    connections: list[Any] = field(default_factory=list)
    worker: Any = None  # hpo's, once it is built


@dataclass
class SimulatedThread:
    """A thread of a process."""

    process: SimulatedProcess
    is_main: bool
    wake_at: float
    baton: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    has_ended: bool = False
    real: threading.Thread | None = None


class Kernel:
    """Runs simulated threads, one at a time, chosen by a random generator.

    `on_point(process, name)` is called at every point of a simulated process, that is before and after its writes; it
    may kill, suspend or signal a process, or raise.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.server_offset = 0.0  # of the clock of the database
        self.trace: list[str] = []
        self.on_point: Callable[[SimulatedProcess, str], None] = lambda process, name: None
        self.close_file: Callable[[int], None] = lambda handle: None
        self._threads: list[SimulatedThread] = []
        self._all_threads: list[SimulatedThread] = []
        self._scheduler = threading.Semaphore(0)
        self._local = threading.local()

    # --- called by the scenario ---

    def start(self, process: SimulatedProcess, function: Callable[[], None], delay: float = 0.0) -> None:
        """Start the main thread of a process."""
        self._add_thread(process, function, is_main=True, delay=delay)

    def run(self) -> None:
        """Run until every thread has ended or is dead."""
        for _ in range(MAX_SWITCHES):
            waiting = [thread for thread in self._threads if thread.process.is_alive and not thread.has_ended]
            self._threads = waiting
            if not waiting:
                return
            ready_at = {id(thread): max(thread.wake_at, thread.process.suspended_until) for thread in waiting}
            self.now = max(self.now, min(ready_at.values()))
            ready = [thread for thread in waiting if ready_at[id(thread)] <= self.now]
            self._resume(ready[self.random.randrange(len(ready))])
        raise SimulationError("the search does not end")

    def unwind(self) -> None:
        """End the threads of dead processes."""
        for thread in self._all_threads:
            thread.process.is_alive = False
            if not thread.has_ended:
                self._resume(thread)
            assert thread.real
            thread.real.join(REAL_TIMEOUT)

    def kill(self, process: SimulatedProcess) -> None:
        """Kill a process. If it is the running one, this does not return."""
        self.release(process)
        if self.process is process:
            self.switch()

    def release(self, process: SimulatedProcess) -> None:
        """Do what the operating system does if a process has ended."""
        if process.is_alive:
            process.is_alive = False
            for connection in process.connections:
                connection.close()
            for handle in process.files:
                self.close_file(handle)

    def log(self, process: SimulatedProcess | None, event: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.now:9.2f}  {process.name if process else '':<12} {event}")

    # --- called by simulated threads ---

    @property
    def process(self) -> SimulatedProcess | None:
        """The process that calls; None outside the simulation."""
        thread: SimulatedThread | None = getattr(self._local, "thread", None)
        return thread.process if thread else None

    def point(self, name: str) -> None:
        """A point at which anything may happen to the calling process."""
        process = self.process
        if process is None:
            return
        if not process.is_alive:
            raise Unwound
        self.on_point(process, name)

    def switch(self) -> None:
        """Let other threads run."""
        thread: SimulatedThread = self._local.thread
        self._scheduler.release()
        thread.baton.acquire()
        if not thread.process.is_alive:
            raise Unwound
        if thread.is_main and thread.process.pending_signals:
            number = thread.process.pending_signals.pop(0)
            self.log(thread.process, f"gets signal {number}")
            handler = thread.process.handlers.get(number)
            if handler is None:
                raise KeyboardInterrupt  # as in hpo.search.engines.worker_main
            handler(number, None)

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass for the calling thread."""
        self._local.thread.wake_at = self.now + seconds
        self.switch()

    def start_thread(self, function: Callable[[], None]) -> None:
        """Start another thread of the calling process."""
        process = self.process
        assert process
        self._add_thread(process, function, is_main=False)

    def wall_clock(self) -> float:
        """Return the time of the calling process's machine, in seconds since the epoch."""
        process = self.process
        return EPOCH + self.now + (process.machine.clock_offset if process else 0.0)

    def _add_thread(
        self, process: SimulatedProcess, function: Callable[[], None], is_main: bool, delay: float = 0.0
    ) -> None:
        thread = SimulatedThread(process, is_main, self.now + delay)

        def run() -> None:
            self._local.thread = thread
            thread.baton.acquire()
            try:
                if process.is_alive:
                    function()
            except BaseException:
                if process.is_alive and is_main:
                    traceback.print_exc()
            finally:
                thread.has_ended = True
                self._scheduler.release()

        thread.real = threading.Thread(target=run, daemon=True)
        thread.real.start()
        self._threads.append(thread)
        self._all_threads.append(thread)

    def _resume(self, thread: SimulatedThread) -> None:
        thread.baton.release()
        if not self._scheduler.acquire(timeout=REAL_TIMEOUT):
            raise SimulationError("the simulated code waits for something real")
