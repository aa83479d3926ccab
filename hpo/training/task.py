"""What every run of a study shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpo.data.tokens import Tokens
from hpo.study.spec import StudySpec
from hpo.training import metrics
from hpo.training.model import Checkpoint


@dataclass(frozen=True)
class Task:
    """The study, the checkpoint, token ids, and the metrics by name."""

    spec: StudySpec
    checkpoint: Checkpoint
    train: Tokens
    validation: Tokens
    modules: dict[str, metrics.Metric]
    levers: Mapping[str, Any] = field(default_factory=dict)  # what makes every run of the study faster; see speed.py

    @property
    def direction(self) -> metrics.Direction:
        """Which way the objective is better."""
        return metrics.METRICS[self.spec.objective].direction
