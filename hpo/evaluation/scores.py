"""All scores of one run, from labels and probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from hpo.training.metrics import METRICS, unsuitable_reason

Array = NDArray[Any]
CALIBRATION_BINS = 15  # of confidence, as in Guo et al. 2017


def score_run(references: Array, probabilities: Array, label_names: Sequence[str]) -> dict[str, Any]:
    """Everything that a report says of one run's quality, ready for JSON.

    From references (n,), which are places in label_names, and probabilities (n, k): `metrics` {name: number}, which are
    all of METRICS that fit k classes, `brier` and `ece`; `per_class` {label name: precision, recall, f1, support};
    `confusion` (k, k) counts, rows are references. A metric that is undefined on these rows is left out.
    """
    probabilities = normalize_rows(probabilities)
    predicted, places = probabilities.argmax(axis=1), np.arange(len(label_names))
    fitting = [name for name in METRICS if unsuitable_reason(name, len(label_names)) is None]
    found = {name: compute_metric(name, references, probabilities) for name in fitting}
    found |= {
        "brier": brier_score(references, probabilities),
        "ece": expected_calibration_error(references, probabilities),
    }
    each = sk.precision_recall_fscore_support(references, predicted, labels=places, zero_division=0.0)
    return {
        "metrics": {name: value for name, value in found.items() if np.isfinite(value)},
        "per_class": {
            name: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}
            for name, precision, recall, f1, support in zip(label_names, *each, strict=True)
        },
        "confusion": sk.confusion_matrix(references, predicted, labels=places).tolist(),
    }


def summarize_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Scores of several runs with their mean and standard deviation, which a single run has none of."""
    return {"mean": mean(values), "sd": stdev(values) if len(values) > 1 else None, "values": list(values)}


def normalize_rows(probabilities: Array) -> Array:
    """The same probabilities (n, k) in float64 with rows that sum to 1, as far as scikit-learn looks.

    Rows of float32 sum to 1 within 1e-7, which it warns of once they are float64.
    """
    wide: Array = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(wide / wide.sum(axis=1, keepdims=True))


def compute_metric(name: str, references: Array, probabilities: Array) -> float:
    """The metric of METRICS for references (n,) and normalised probabilities (n, k); not a number where undefined."""
    with warnings.catch_warnings():  # scikit-learn warns where a class has no row: ROC AUC is then not a number
        warnings.simplefilter("ignore")
        return METRICS[name].of(references, probabilities)


def brier_score(references: Array, probabilities: Array) -> float:
    """The mean squared error of the probabilities (Brier 1950), lower is better.

    Of the second class where there are two, so from 0 to 1; summed over the classes where there are more, as Brier
    did, so from 0 to 2.
    """
    errors = (probabilities - np.eye(probabilities.shape[1])[references]) ** 2
    return float(errors[:, 1].mean() if probabilities.shape[1] == 2 else errors.sum(axis=1).mean())


def expected_calibration_error(references: Array, probabilities: Array) -> float:
    """Expected calibration error, from 0 to 1: how far confidence and accuracy are apart (Guo et al. 2017).

    Rows fall into 15 bins of equal width, closed above, by the probability of the predicted class; the gap between mean
    confidence and accuracy of each bin is weighted by its rows.
    """
    confidence = probabilities.max(axis=1)
    surplus = confidence - (probabilities.argmax(axis=1) == references)
    bins = np.ceil(confidence * CALIBRATION_BINS).astype(int)
    return float(np.abs(np.bincount(bins, weights=surplus)).sum() / len(references))
