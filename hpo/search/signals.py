"""How a running search or final run is stopped: by a signal, or because its parent process has ended."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopSignal:
    """Whether the running trial should stop: a signal arrived, or the parent process has ended."""

    is_requested: bool = False
    in_trial: bool = False
    trial: int | None = None  # number of the trial that was started last
    parent: int | None = None

    def check(self) -> None:
        """Raise KeyboardInterrupt if a stop was requested. Called between two training steps."""
        if self.is_requested or (self.parent is not None and os.getppid() != self.parent):
            raise KeyboardInterrupt

    @contextmanager
    def on_signals(self, on_request: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Handle SIGINT and SIGTERM: call `on_request`, and stop the trial after its current step.

        A second signal, or one outside a trial, raises KeyboardInterrupt at once.
        """

        def handle(_number: int, _frame: FrameType | None) -> None:
            on_request()
            # Set in any case: Python swallows what a handler raises while it runs a destructor or a callback.
            is_second, self.is_requested = self.is_requested, True
            if is_second or not self.in_trial:
                raise KeyboardInterrupt

        # Python lets only the main thread install signal handlers.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
