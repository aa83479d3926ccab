"""Measurements of one training run, and why it ended early. Imports no torch, so that readers of a store can use it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from optuna import TrialPruned

from hpo.store.trial_record import trial_attributes
from hpo.store.trial_state import ERROR, INTERRUPTED, PRUNED


class TrialEnded(Exception):
    """A run ended early; the text is the reason and begins with the outcome."""


class TrialStopped(BaseException):
    """A run was stopped before its end and can continue later; the text says why.

    Optuna would mark the trial as failed after an Exception or a KeyboardInterrupt, and a failed trial cannot continue.
    """


@dataclass
class RunMeasurements:
    """What one run has measured. Filled during the run, so a run that ends early has all of it up to its end."""

    curve: dict[int, dict[str, float]] = field(default_factory=dict)  # rung -> metric -> score on validation
    effective: dict[str, Any] = field(default_factory=dict)  # values read back from the live run
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("wall", "train", "evaluation"), 0.0))
    steps: int = 0
    examples: int = 0
    tokens: int = 0  # without padding
    peak_memory: int = 0  # bytes: of the accelerator if there is one, else of the process
    lost: float = 0.0  # seconds of attempts that ran out of memory, included in wall
    batch_split: int = 1  # parts that the device batch was cut into because it did not fit into memory
    device_batch: int = 0  # examples in the largest batch

    def values_of(self, metric: str) -> dict[int, float]:
        """Return the scores of one metric by rung."""
        return {rung: scores[metric] for rung, scores in self.curve.items() if metric in scores}

    def describe_end(self, error: BaseException) -> str:
        """Describe why the run ended with this exception: the outcome, then details."""
        if isinstance(error, TrialPruned):
            return f"{PRUNED}: at rung {max(self.curve)}"
        if isinstance(error, TrialEnded | TrialStopped):
            return str(error)
        if isinstance(error, KeyboardInterrupt):
            return INTERRUPTED
        lines = str(error).strip().splitlines()
        return f"{ERROR}: {type(error).__name__}: {lines[0] if lines else ''}"

    def to_attributes(self) -> dict[str, Any]:
        """Return what a store keeps of the run, as attributes of a trial or of a final run."""
        split = {"batch_split": self.batch_split} if self.batch_split > 1 else {}
        return trial_attributes(
            curve=self.curve,
            effective=self.effective,
            seconds=self.seconds,
            steps=self.steps,
            examples=self.examples,
            tokens=self.tokens,
            peak_memory=self.peak_memory,
            **split,
        )
