"""METRICS as modules of the library evaluate, which live here and are not fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import datasets
import evaluate
import numpy as np

if TYPE_CHECKING:
    from hpo.training.metrics import Metric, Scores


class EvaluateMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate is untyped
    """One number from references (n,) and predictions: labels (n,), or probabilities (n, classes).

    It never asks the hub for anything: `evaluate.load("accuracy")` would fetch a script.
    """

    def __init__(self, name: str, measure: Metric) -> None:
        self.measure = measure
        self.metric = name
        super().__init__(keep_in_memory=True)  # the default writes an Arrow file per call

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value("float64") if self.measure.on_probabilities else datasets.Value("int64")
        return evaluate.MetricInfo(
            description=f"{self.metric}, by scikit-learn",
            citation="",
            features=datasets.Features(
                {
                    "predictions": datasets.List(value) if self.measure.on_probabilities else value,
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> Scores:
        return {self.metric: float(self.measure.function(np.asarray(references), np.asarray(predictions)))}
