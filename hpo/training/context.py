"""What every run of a study shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpo.data.token_cache import TokenizedSplit
from hpo.study.spec import StudySpec
from hpo.training.checkpoint import Checkpoint
from hpo.training.evaluate_metrics import EvaluateMetric
from hpo.training.metrics import METRICS, Direction


@dataclass(frozen=True)
class RunContext:
    """The study, the checkpoint, token ids, and the metrics by name."""

    spec: StudySpec
    checkpoint: Checkpoint
    train: TokenizedSplit
    validation: TokenizedSplit
    modules: dict[str, EvaluateMetric]
    levers: Mapping[str, Any] = field(default_factory=dict)  # what makes every run of the study faster; see speed.py

    @property
    def direction(self) -> Direction:
        """Which way the objective is better."""
        return METRICS[self.spec.objective].direction
