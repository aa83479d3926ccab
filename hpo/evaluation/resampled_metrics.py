"""Metrics on many bootstrap resamples at once.

A scorer takes counts (draws, n), how often each of the n rows was drawn, and returns the scores (draws, R) of R runs.
Computing a metric with scikit-learn on every resample takes minutes for 1,000 resamples of a large test split. So
metrics are computed from sums over the drawn rows as far as possible, all resamples in one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hpo.evaluation.scores import compute_metric
from hpo.training.metrics import METRICS

Array = NDArray[Any]
Scorer = Callable[[Array], Array]  # counts (draws, n) -> scores (draws, R)
# From counts per class (..., k): correctly predicted rows, true rows, and predicted rows.
ClassCountMetric = Callable[[Array, Array, Array], Array]


def build_scorer(objective: str, references: Array, runs: Sequence[Array]) -> Scorer:
    """Return the fastest scorer for an objective, from labels (n,) and each run's normalized probabilities (n, k).

    A metric without a fast scorer is computed on the drawn rows themselves, so a new one in METRICS needs nothing here.
    """
    method = METRICS[objective].resample
    if method == "mean_of_rows" and objective in ROW_SCORES:
        return _mean_of_rows([ROW_SCORES[objective](references, run) for run in runs])
    if method == "class_counts" and objective in CLASS_COUNT_METRICS:
        return _from_class_counts(references, runs, CLASS_COUNT_METRICS[objective])
    if method == "auc":
        return _auc(references, runs)
    return score_drawn_rows(objective, references, runs)


def score_drawn_rows(objective: str, references: Array, runs: Sequence[Array]) -> Scorer:
    """Return a scorer that computes any metric of METRICS on the drawn rows of each resample."""

    def score(counts: Array) -> Array:
        resamples = [np.repeat(np.arange(len(references)), row.astype(int)) for row in counts]
        return np.array(
            [[compute_metric(objective, references[rows], run[rows]) for run in runs] for rows in resamples]
        )

    return score


def _is_correct(references: Array, probabilities: Array) -> Array:
    return np.asarray(probabilities.argmax(axis=1) == references)


def _row_log_loss(references: Array, probabilities: Array) -> Array:
    tiny = np.finfo(np.float64).eps  # scikit-learn's bound
    return np.asarray(-np.log(probabilities[np.arange(len(probabilities)), references].clip(tiny, 1 - tiny)))


def _mean_of_rows(scores: Sequence[Array]) -> Scorer:
    """Return a scorer for a metric that is the mean of a score per row, (n,) for each run."""
    table = np.stack(scores, axis=1).astype(np.float64)
    return lambda counts: counts @ table / len(table)


def _from_class_counts(references: Array, runs: Sequence[Array], metric: ClassCountMetric) -> Scorer:
    """Return a scorer for a metric of how often each class is correctly predicted, true, and predicted."""
    classes, run_count = runs[0].shape[1], len(runs)
    predicted, true = np.stack([run.argmax(axis=1) for run in runs], axis=1), references[:, None]
    # Each row adds to 2 R + 1 sums: to those of its class and of its prediction in each run, and to that of its class
    # once. A sparse matrix (rows, sums) turns counts into all sums at once.
    values = [predicted == true, np.ones((len(true), run_count + 1))]
    columns = [
        true + classes * np.arange(run_count),
        predicted + classes * (run_count + np.arange(run_count)),
        true + 2 * classes * run_count,
    ]
    row_starts = np.arange(len(true) + 1) * (2 * run_count + 1)
    sums_of_rows = sparse.csr_array(
        (np.concatenate(values, axis=1).ravel(), np.concatenate(columns, axis=1).ravel(), row_starts),
        shape=(len(true), (2 * run_count + 1) * classes),
    )

    def score(counts: Array) -> Array:
        sums = (counts @ sums_of_rows).reshape(len(counts), -1, classes)
        return metric(sums[:, :run_count], sums[:, -1:], sums[:, run_count:-1])

    return score


def _divide(numerator: Array, denominator: Array, if_zero: float = 0.0) -> Array:
    """Divide; a quotient with denominator 0 is `if_zero`, by default 0 as in our calls of scikit-learn."""
    return np.asarray(np.divide(numerator, denominator, out=np.full(numerator.shape, if_zero), where=denominator > 0))


def _precision_recall_f1(kind: str, average: str, correct: Array, true: Array, predicted: Array) -> Array:
    """Return precision, recall or F1: of the second class, or the mean over the classes that occur, or over rows."""
    denominator = {"precision": predicted, "recall": true, "f1": (true + predicted) / 2}[kind]
    values = _divide(correct, denominator)
    if average == "binary":
        return np.asarray(values[..., 1])
    weights = true if average == "weighted" else (true + predicted > 0)
    return np.asarray((values * weights).sum(axis=-1) / weights.sum(axis=-1))


def _balanced_accuracy(correct: Array, true: Array, predicted: Array) -> Array:
    """Return the mean recall of the classes that occur."""
    return np.asarray(_divide(correct, true).sum(axis=-1) / (true > 0).sum(axis=-1))


def _mcc(correct: Array, true: Array, predicted: Array) -> Array:
    """Return Matthews' correlation for any number of classes (Gorodkin 2004), 0 if either side has one class only."""
    rows = true.sum(axis=-1)
    spread = [rows**2 - (side**2).sum(axis=-1) for side in (true, predicted)]
    return _divide(correct.sum(axis=-1) * rows - (true * predicted).sum(axis=-1), np.sqrt(spread[0] * spread[1]))


def _auc(references: Array, runs: Sequence[Array]) -> Scorer:
    """Return a scorer for the area under the ROC curve.

    With more than two classes: each against each that occurs, unweighted (Hand & Till 2001).
    """
    classes = runs[0].shape[1]
    if classes == 2:
        pairs = [(1, 0)]
    else:
        pairs = [pair for a, b in combinations(range(classes), 2) for pair in ((a, b), (b, a))]

    def score(counts: Array) -> Array:
        by_row = np.ascontiguousarray(counts.T)
        table = np.zeros((len(runs), len(pairs), len(counts)))
        for run, areas in zip(runs, table, strict=True):
            for index, (positive, negative) in enumerate(pairs):
                areas[index] = _pair_auc(run[:, positive], references == positive, references == negative, by_row)
        defined = np.isfinite(table)
        return _divide(np.where(defined, table, 0.0).sum(axis=1), defined.sum(axis=1), if_zero=np.nan).T

    return score


def _pair_auc(scores: Array, positive: Array, negative: Array, counts: Array) -> Array:
    """Return the probability (draws,) that a positive row outscores a negative one, ties half, from counts (n, draws).

    Both sides are sorted once. The negatives below each positive are then a cumulative sum of counts, for all draws.
    """
    above, below = (rows[np.argsort(scores[rows])] for rows in (np.flatnonzero(positive), np.flatnonzero(negative)))
    outscored = np.zeros((len(below) + 1, counts.shape[1]))
    np.cumsum(counts[below], axis=0, out=outscored[1:])
    drawn = counts[above]
    first, last = (np.searchsorted(scores[below], scores[above], side) for side in ("left", "right"))
    wins = np.einsum("ij,ij->j", drawn, outscored[first])
    if (first != last).any():
        wins = (wins + np.einsum("ij,ij->j", drawn, outscored[last])) / 2
    return _divide(wins, drawn.sum(axis=0) * outscored[-1], if_zero=np.nan)


ROW_SCORES: dict[str, Callable[[Array, Array], Array]] = {"accuracy": _is_correct, "log_loss": _row_log_loss}
CLASS_COUNT_METRICS: dict[str, ClassCountMetric] = {
    **{
        f"{kind}{suffix}": partial(_precision_recall_f1, kind, average)
        for kind in ("precision", "recall", "f1")
        for suffix, average in (("", "binary"), ("_macro", "macro"), ("_weighted", "weighted"))
    },
    "balanced_accuracy": _balanced_accuracy,
    "mcc": _mcc,
}
