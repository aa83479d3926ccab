"""All scores of one run, computed from its labels and class probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from hpo.evaluation.comparison_result import SeedSummary
from hpo.store.run_record import SplitScores
from hpo.training.metrics import METRICS, evaluate_module, unsuitable_reason

Array = NDArray[Any]
CALIBRATION_BINS = 15  # bins of confidence, as in Guo et al. 2017


def score_run(references: Array, probabilities: Array, label_names: Sequence[str]) -> SplitScores:
    """Return all scores of one run on one split.

    Args:
        references: True labels (n,), as indices into `label_names`.
        probabilities: Class probabilities (n, k).
        label_names: The k labels.

    Returns:
        `metrics`: every metric of METRICS that fits k classes, `brier` and `ece`, each a number; a metric that is
        undefined on these rows is left out. `per_class`: label -> precision, recall, f1 and support. `confusion`:
        counts (k, k), rows are true labels.
    """
    probabilities = normalize_rows(probabilities)
    predicted, labels = probabilities.argmax(axis=1), np.arange(len(label_names))
    fitting = [name for name in METRICS if unsuitable_reason(name, len(label_names)) is None]
    scores = _compute_with_evaluate(fitting, references, probabilities)
    scores["brier"] = brier_score(references, probabilities)
    scores["ece"] = expected_calibration_error(references, probabilities)
    by_class = sk.precision_recall_fscore_support(references, predicted, labels=labels, zero_division=0.0)
    return SplitScores(
        metrics={name: value for name, value in scores.items() if np.isfinite(value)},
        per_class={
            name: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}
            for name, precision, recall, f1, support in zip(label_names, *by_class, strict=True)
        },
        confusion=sk.confusion_matrix(references, predicted, labels=labels).tolist(),
    )


def leave_labels_only(scores: SplitScores) -> SplitScores:
    """Return the scores of a system of which only labels are known, without those that need probabilities."""
    metrics = {
        name: value
        for name, value in scores.metrics.items()
        if name in METRICS and not METRICS[name].needs_probabilities  # brier and ece are no metrics of METRICS
    }
    return replace(scores, metrics=metrics)


def summarize_seeds(values: Sequence[float]) -> SeedSummary:
    """Return the mean and standard deviation of one score over several runs; a single run has no deviation."""
    return SeedSummary(mean=mean(values), sd=stdev(values) if len(values) > 1 else None, values=list(values))


def normalize_rows(probabilities: Array) -> Array:
    """Return the probabilities (n, k) in float64, with rows that sum to 1 within scikit-learn's tolerance.

    Rows of float32 sum to 1 within 1e-7. scikit-learn warns about that once they are float64.
    """
    wide: Array = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(wide / wide.sum(axis=1, keepdims=True))


def compute_metric(name: str, references: Array, probabilities: Array) -> float:
    """Compute a metric of METRICS from labels (n,) and normalized probabilities (n, k); NaN if it is undefined.

    Readers of stored predictions use this function: it does not import `evaluate`.
    """
    with warnings.catch_warnings():  # scikit-learn warns if a class has no row: ROC AUC is then NaN
        warnings.simplefilter("ignore")
        return METRICS[name].compute(references, probabilities)


def _compute_with_evaluate(names: Sequence[str], references: Array, probabilities: Array) -> dict[str, float]:
    """Compute metrics with their `evaluate` modules; the same numbers as `compute_metric`, in the order of `names`.

    Final scores come from `evaluate`, so that others can recompute them with the same modules. `compute()` sends the
    rows through Arrow, which is little for a final run but too much for each rung of a search.
    """
    of_labels = [name for name in names if not METRICS[name].needs_probabilities]
    of_probabilities = [name for name in names if METRICS[name].needs_probabilities]
    scores: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for group, predictions in ((of_labels, probabilities.argmax(axis=1)), (of_probabilities, probabilities)):
            if group:
                scores |= evaluate_module(*group).compute(references=references, predictions=predictions)
    return {name: scores[name] for name in names}


def brier_score(references: Array, probabilities: Array) -> float:
    """Return the mean squared error of the probabilities (Brier 1950); lower is better.

    With two classes it is the error of the second class, from 0 to 1. With more it is summed over the classes as Brier
    did, from 0 to 2.
    """
    errors = (probabilities - np.eye(probabilities.shape[1])[references]) ** 2
    return float(errors[:, 1].mean() if probabilities.shape[1] == 2 else errors.sum(axis=1).mean())


def expected_calibration_error(references: Array, probabilities: Array) -> float:
    """Return the expected calibration error, from 0 to 1: the gap between confidence and accuracy (Guo et al. 2017).

    The rows fall into 15 bins of equal width, closed above, by the probability of the predicted class. The gap between
    mean confidence and accuracy of each bin is weighted by its number of rows.
    """
    confidence = probabilities.max(axis=1)
    surplus = confidence - (probabilities.argmax(axis=1) == references)
    bins = np.ceil(confidence * CALIBRATION_BINS).astype(int)
    return float(np.abs(np.bincount(bins, weights=surplus)).sum() / len(references))
