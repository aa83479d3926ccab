"""How a run is told to end: a signal that arrived, or a parent process that is gone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopSignal:
    """What tells the running trial to end: a signal that arrived, or a parent process that is gone."""

    asked: bool = False
    in_trial: bool = False
    parent: int | None = None

    def check(self) -> None:
        """Raise KeyboardInterrupt between two steps where the user asked to stop."""
        if self.asked or (self.parent is not None and os.getppid() != self.parent):
            raise KeyboardInterrupt

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the trial after its present step; a second one, or one outside a trial, at once."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            if self.asked or not self.in_trial:
                raise KeyboardInterrupt
            self.asked = True

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
