"""What all runs of a study share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpo.study.spec import StudySpec
from hpo.training.metrics import METRICS, Direction, Metric

if TYPE_CHECKING:
    from hpo.data.token_cache import TokenizedSplit
    from hpo.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class RunContext:
    """The study, its checkpoint and token ids, and the metrics to compute."""

    spec: StudySpec
    checkpoint: Checkpoint
    train: TokenizedSplit
    validation: TokenizedSplit
    metrics: Mapping[str, Metric]
    accelerations: Mapping[str, Any] = field(default_factory=dict)  # field -> value that training.speed chose

    @property
    def direction(self) -> Direction:
        """Whether a higher or a lower objective is better."""
        return METRICS[self.spec.objective].direction
