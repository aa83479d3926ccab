"""What one training run leaves behind, and how it says that it came to its end early; without torch, for readers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from optuna import TrialPruned

from hpo.store.trial_state import ERROR, INTERRUPTED, PRUNED


class TrialEnded(Exception):
    """A run that its own values brought to an end; the text says how, its first word is the ending."""


@dataclass
class RunMeasurements:
    """What one run leaves behind; filled while it runs, so a run that ends early has its part of it."""

    curve: dict[int, dict[str, float]] = field(default_factory=dict)  # rung -> metric -> score on validation
    effective: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("wall", "train", "evaluation"), 0.0))
    steps: int = 0
    examples: int = 0
    tokens: int = 0  # padding not counted
    peak_memory: int = 0  # bytes: of the process, or of the accelerator where there is one
    lost: float = 0.0  # seconds of attempts that ran out of memory, counted in wall
    split: int = 1  # parts that the device batch was cut into, because it did not fit
    device_batch: int = 0

    def values_of(self, metric: str) -> dict[int, float]:
        """Rung -> score of one metric."""
        return {rung: scores[metric] for rung, scores in self.curve.items() if metric in scores}

    def reason(self, error: BaseException) -> str:
        """Why the run ended by this: the ending, and a word on it."""
        if isinstance(error, TrialPruned):
            return f"{PRUNED}: at rung {max(self.curve)}"
        if isinstance(error, TrialEnded):
            return str(error)
        if isinstance(error, KeyboardInterrupt):
            return INTERRUPTED
        lines = str(error).strip().splitlines()
        return f"{ERROR}: {type(error).__name__}: {lines[0] if lines else ''}"
