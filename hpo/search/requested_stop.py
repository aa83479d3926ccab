"""Stop a worker, or its trial, when `hpo stop` asks for it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from optuna import Study

from hpo.search.signals import StopSignal
from hpo.store.stop_requests import read_stop_request
from hpo.store.trial_state import STOPPED
from hpo.training.measurements import TrialEnded

POLL_SECONDS = 5.0  # between two readings of the store: a query of a millisecond, also if a step takes less


@dataclass
class RequestedStop(StopSignal):
    """Whether to stop: as StopSignal, and because somebody has run `hpo stop`."""

    study: Study | None = None
    known: str = ""  # the request to end the search that was there before this search started
    _checked_trial: int | None = None
    _next_poll: float = 0.0

    def check(self) -> None:
        """Raise KeyboardInterrupt if the worker should stop, or TrialEnded if its trial should."""
        super().check()
        now = time.monotonic()
        # A trial that somebody stopped while it waited ends at its first step.
        if self.study is None or (now < self._next_poll and self.trial == self._checked_trial):
            return
        self._next_poll, self._checked_trial = now + POLL_SECONDS, self.trial
        request = read_stop_request(self.study)
        if request.search != self.known:
            raise KeyboardInterrupt
        if self.in_trial and self.trial in request.trials:
            raise TrialEnded(f"{STOPPED}: by `hpo stop`")
