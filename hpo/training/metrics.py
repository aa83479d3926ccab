"""METRICS: the metrics that a study can report or search for, one row per metric, computed by scikit-learn.

Runs compute them with `Metric.compute`. `evaluate_module` gives each one as a module of the library `evaluate`, the
public face of metrics. A separately installed package adds metrics with the entry-point group `hpo.metrics`: each entry
point is a `Metric`, and its name is the name of the metric.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from hpo.errors import unknown_value
from hpo.plugins import load_entry_points

Direction = Literal["maximize", "minimize"]
Task = Literal["binary", "multiclass"]
Resampling = Literal["mean_of_rows", "class_counts", "auc"]
Scores = dict[str, float]


@dataclass(frozen=True)
class Metric:
    """How a metric is computed, shown and resampled.

    Attributes:
        function: takes the true labels (n,) and either predicted labels (n,) or probabilities (n, classes).
        direction: whether higher or lower is better.
        label: name in full, for headings and axes.
        heading: short name, for the columns of tables.
        unit: what differences are counted in: "points" (hundredths) for shares, "" for other numbers.
        hub_name: name of the metric on the Hugging Face Hub, if it has one there.
        tasks: `binary` for two classes, `multiclass` for more.
        needs_probabilities: whether `function` takes probabilities.
        resample: how the bootstrap computes the metric on resamples of the rows. "mean_of_rows": the mean of a number
            per row. "class_counts": a function of how often each class is true, predicted, and rightly predicted.
            "auc": areas under ROC curves from ranks. None: call `function` on every resample, which is slow.
    """

    function: Callable[[Any, Any], float]
    direction: Direction = "maximize"
    label: str = ""
    heading: str = ""
    unit: str = "points"
    hub_name: str | None = None
    tasks: frozenset[Task] = frozenset(("binary", "multiclass"))
    needs_probabilities: bool = False
    resample: Resampling | None = None

    def compute(self, references: NDArray[Any], probabilities: NDArray[Any]) -> float:
        """Compute the metric from labels (n,) and probabilities (n, classes); NaN if it is undefined."""
        predictions = probabilities if self.needs_probabilities else probabilities.argmax(axis=1)
        return float(self.function(references, predictions))

    def fits(self, classes: int) -> bool:
        """Return whether the metric is defined for this number of classes."""
        return ("binary" if classes == 2 else "multiclass") in self.tasks


def _averaged(function: Callable[..., float], average: str, label: str, heading: str, hub_name: str) -> Metric:
    """Return precision, recall or F1 with one of scikit-learn's averages; 0 if a class is never predicted."""

    def compute(references: Any, predictions: Any) -> float:
        return float(function(references, predictions, average=average, zero_division=0.0))

    tasks: frozenset[Task] = frozenset(("binary",) if average == "binary" else ("binary", "multiclass"))
    return Metric(compute, "maximize", label, heading, hub_name=hub_name, tasks=tasks, resample="class_counts")


def _balanced_accuracy(references: Any, predictions: Any) -> float:
    # Written out, since scikit-learn's own function warns about classes that are predicted but have no row here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return float(sk.balanced_accuracy_score(references, predictions))


def _roc_auc(references: Any, probabilities: Any) -> float:
    """Area under the ROC curve; for more than two classes the unweighted mean of all pairs (Hand & Till 2001)."""
    if probabilities.shape[1] == 2:
        return float(sk.roc_auc_score(references, probabilities[:, 1]))
    labels = np.arange(probabilities.shape[1])
    return float(sk.roc_auc_score(references, probabilities, multi_class="ovo", labels=labels))


def _log_loss(references: Any, probabilities: Any) -> float:
    return float(sk.log_loss(references, probabilities, labels=np.arange(probabilities.shape[1])))


METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        sk.accuracy_score, label="Accuracy", heading="acc", hub_name="accuracy", resample="mean_of_rows"
    ),
    "balanced_accuracy": Metric(
        _balanced_accuracy, label="Balanced accuracy", heading="bal acc", resample="class_counts"
    ),
    "f1": _averaged(sk.f1_score, "binary", "F1 of the positive class", "F1 pos", "f1"),
    "f1_macro": _averaged(sk.f1_score, "macro", "F1, macro average", "F1", "f1"),
    "f1_weighted": _averaged(sk.f1_score, "weighted", "F1, weighted average", "F1 w", "f1"),
    "precision": _averaged(sk.precision_score, "binary", "Precision of the positive class", "prec pos", "precision"),
    "precision_macro": _averaged(sk.precision_score, "macro", "Precision, macro average", "prec", "precision"),
    "precision_weighted": _averaged(
        sk.precision_score, "weighted", "Precision, weighted average", "prec w", "precision"
    ),
    "recall": _averaged(sk.recall_score, "binary", "Recall of the positive class", "recall pos", "recall"),
    "recall_macro": _averaged(sk.recall_score, "macro", "Recall, macro average", "recall", "recall"),
    "recall_weighted": _averaged(sk.recall_score, "weighted", "Recall, weighted average", "recall w", "recall"),
    "roc_auc": Metric(
        _roc_auc,
        label="Area under the ROC curve",
        heading="AUC",
        hub_name="roc_auc",
        needs_probabilities=True,
        resample="auc",
    ),
    "log_loss": Metric(
        _log_loss,
        "minimize",
        label="Log loss",
        heading="log loss",
        unit="",
        needs_probabilities=True,
        resample="mean_of_rows",
    ),
    "mcc": Metric(
        sk.matthews_corrcoef,
        label="Matthews correlation coefficient",
        heading="MCC",
        hub_name="matthews_correlation",
        resample="class_counts",
    ),
}


def _add_plugin_metrics() -> None:
    """Add the metrics of separately installed packages; a built-in name stays what it is."""
    for name, entry_point in load_entry_points("hpo.metrics").items():
        try:
            metric = entry_point.load()
        except Exception as error:  # another package's code may raise anything; studies without its metric go on
            warnings.warn(f"metric {name} ({entry_point.value}) cannot be loaded: {error!r}", stacklevel=2)
            continue
        if not isinstance(metric, Metric):
            warnings.warn(
                f"metric {name} ({entry_point.value}) is of type {type(metric).__name__}; "
                "it must be an hpo.training.metrics.Metric",
                stacklevel=2,
            )
            continue
        METRICS.setdefault(name, metric)


_add_plugin_metrics()


def unsuitable_reason(objective: str, classes: int) -> str | None:
    """Return why a metric cannot be the objective of a study with this number of classes, or None if it can."""
    if objective not in METRICS:
        return unknown_value(objective, METRICS, limit=len(METRICS))
    if METRICS[objective].fits(classes):
        return None
    fitting = [name for name in METRICS if name.startswith(f"{objective}_") and METRICS[name].fits(classes)]
    kind = "two classes" if classes != 2 else "more than two classes"
    return f"is {objective!r}, which is for {kind}; the data have {classes}" + (
        f": use {' or '.join(fitting)}" if fitting else ""
    )


def suitable_metrics(classes: int) -> dict[str, Metric]:
    """Return every metric that is defined for this number of classes, by name."""
    return {name: metric for name, metric in METRICS.items() if metric.fits(classes)}


def score_logits(metrics: Mapping[str, Metric], logits: NDArray[Any], references: NDArray[Any]) -> Scores:
    """Compute all metrics from logits (n, classes) and labels (n,); undefined ones are left out."""
    # A softmax that does not overflow. Metrics are computed directly and not by evaluate's compute(), which gives the
    # same numbers but sends the arrays of every call through Arrow.
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    scores = {name: metric.compute(references, probabilities) for name, metric in metrics.items()}
    # The area under the ROC curve is NaN if a class has no row in validation, and JSON has no NaN.
    return {name: value for name, value in scores.items() if np.isfinite(value)}


@cache
def evaluate_module(*names: str) -> Any:
    """Return metrics as one module of the library `evaluate`: an `evaluate.Metric` with `compute()`.

    It takes `references` (n,) and `predictions`, which are labels (n,) or, if the metrics need them, probabilities
    (n, classes), and returns name -> score. Several metrics share one pass of the rows through Arrow, which takes
    longer than a metric; `evaluate.combine` sends them through once per metric. Nothing is fetched, whereas
    `evaluate.load("accuracy")` downloads a script. `evaluate` takes seconds to import, so only this function imports
    it. Raises KeyError for an unknown metric, and ValueError for metrics that take different predictions.
    """
    import datasets
    import evaluate

    metrics = {name: METRICS[name] for name in names}
    if len({metric.needs_probabilities for metric in metrics.values()}) != 1:
        raise ValueError(f"{', '.join(names)}: expected metrics of labels alone, or of probabilities alone")
    needs_probabilities = metrics[names[0]].needs_probabilities
    value = datasets.Value("float64" if needs_probabilities else "int64")
    features = datasets.Features(
        {
            "predictions": datasets.List(value) if needs_probabilities else value,
            "references": datasets.Value("int64"),
        }
    )

    class EvaluateMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate is untyped
        """One or more rows of METRICS."""

        def _info(self) -> evaluate.MetricInfo:
            return evaluate.MetricInfo(
                description=f"{', '.join(names)}, by scikit-learn", citation="", features=features
            )

        def _compute(self, predictions: Any, references: Any) -> Scores:
            labels, predicted = np.asarray(references), np.asarray(predictions)
            return {name: float(metric.function(labels, predicted)) for name, metric in metrics.items()}

    return EvaluateMetric(keep_in_memory=True)  # the default writes an Arrow file per call
