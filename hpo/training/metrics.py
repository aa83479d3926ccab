"""METRICS: what can be measured, each with its direction, by scikit-learn; see modules.py for the library evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from hpo.errors import unknown_value

if TYPE_CHECKING:
    from hpo.training.evaluate_metrics import EvaluateMetric

Direction = Literal["maximize", "minimize"]
Scores = dict[str, float]


@dataclass(frozen=True)
class Metric:
    """How a metric is computed, which way is better, and what it can be computed on."""

    function: Callable[[Any, Any], float]
    direction: Direction = "maximize"
    on_probabilities: bool = False
    two_classes_only: bool = False

    def of(self, references: NDArray[Any], probabilities: NDArray[Any]) -> float:
        """The number for labels (n,) and probabilities (n, classes); not a number where it is undefined."""
        predictions = probabilities if self.on_probabilities else probabilities.argmax(axis=1)
        return float(self.function(references, predictions))


def _averaged(function: Callable[..., float], average: str) -> Metric:
    def compute(references: Any, predictions: Any) -> float:
        return float(function(references, predictions, average=average, zero_division=0.0))

    return Metric(compute, two_classes_only=average == "binary")


def _roc_auc(references: Any, probabilities: Any) -> float:
    """Area under the ROC curve; more than two classes: each against each, unweighted (Hand & Till 2001)."""
    if probabilities.shape[1] == 2:
        return float(sk.roc_auc_score(references, probabilities[:, 1]))
    labels = np.arange(probabilities.shape[1])
    return float(sk.roc_auc_score(references, probabilities, multi_class="ovo", labels=labels))


def _log_loss(references: Any, probabilities: Any) -> float:
    return float(sk.log_loss(references, probabilities, labels=np.arange(probabilities.shape[1])))


METRICS: dict[str, Metric] = {
    "accuracy": Metric(sk.accuracy_score),
    "f1": _averaged(sk.f1_score, "binary"),
    "f1_macro": _averaged(sk.f1_score, "macro"),
    "f1_weighted": _averaged(sk.f1_score, "weighted"),
    "precision": _averaged(sk.precision_score, "binary"),
    "precision_macro": _averaged(sk.precision_score, "macro"),
    "precision_weighted": _averaged(sk.precision_score, "weighted"),
    "recall": _averaged(sk.recall_score, "binary"),
    "recall_macro": _averaged(sk.recall_score, "macro"),
    "recall_weighted": _averaged(sk.recall_score, "weighted"),
    "roc_auc": Metric(_roc_auc, on_probabilities=True),
    "log_loss": Metric(_log_loss, direction="minimize", on_probabilities=True),
    "mcc": Metric(sk.matthews_corrcoef),
}


def unsuitable_reason(objective: str, classes: int) -> str | None:
    """Why a metric cannot be the objective of a study with so many classes, or None where it can."""
    if objective not in METRICS:
        return unknown_value(objective, METRICS, limit=len(METRICS))
    if METRICS[objective].two_classes_only and classes != 2:
        return f"is {objective!r}, which is for two classes; these are {classes}: {objective}_macro or _weighted"
    return None


def evaluate_modules(classes: int) -> dict[str, EvaluateMetric]:
    """Every metric that can be computed for so many classes, by name."""
    from hpo.training.evaluate_metrics import (
        EvaluateMetric,  # evaluate is slow to start, and who only reads results has no need of it
    )

    return {
        name: EvaluateMetric(name, measure)
        for name, measure in METRICS.items()
        if unsuitable_reason(name, classes) is None
    }


def score_logits(modules: Mapping[str, EvaluateMetric], logits: NDArray[Any], references: NDArray[Any]) -> Scores:
    """All metrics from logits (n, classes) and labels (n,)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    # Not by evaluate's compute(): it gives the same numbers, but sends each call's arrays through Arrow.
    scores = {name: metric.measure.of(references, probabilities) for name, metric in modules.items()}
    # Where a class has no row in validation, the area under the ROC curve is no number; JSON has no word for that.
    return {name: value for name, value in scores.items() if np.isfinite(value)}
