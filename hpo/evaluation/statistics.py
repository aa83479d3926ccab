"""Paired differences between systems, with intervals over rows and seeds, and corrected p-values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse, special, stats

from hpo.errors import DataError
from hpo.evaluation.scores import compute_metric, normalize_rows

Array = NDArray[Any]
Scorer = Callable[[Array], Array]  # how often each row was drawn (draws, n) -> the score of each run (draws, R)
MAX_CELLS = 2_000_000  # of the largest array at a time: 16 MB
MAX_REDRAWS = 20  # how many times the draws may be undefined before the metric is said to be
ALPHA = 0.05
ROUNDING = 1e-12  # scores closer than this differ by rounding alone


@dataclass(frozen=True)
class ResampledScores:
    """The scores of R runs: observed (R,), and on each bootstrap resample of the rows (draws, R), the same for all."""

    observed: Array
    table: Array


@dataclass(frozen=True)
class Difference:
    """How much better ours is than theirs: 95 % interval from low to high, two-sided p.

    `standard_error` is of rows and seeds together; `df` are the degrees of freedom of the seeds' part, none where
    neither side's runs differ.
    """

    difference: float
    low: float
    high: float
    p: float
    standard_error: float
    df: float | None


@dataclass(frozen=True)
class McNemarTest:
    """Rows that only one of two runs has right, and the two-sided p that both are as often right."""

    only_ours: int
    only_theirs: int
    p: float


def resample_scores(
    objective: str,
    references: Array,
    runs: Sequence[Array],
    draws: int = 1000,
    seed: int = 0,
    tell: Callable[[float, str], None] | None = None,
) -> ResampledScores:
    """The objective's score of each run, and on bootstrap resamples of the rows (Efron 1979), which all runs share.

    References are (n,), each run's probabilities (n, k) over the same rows. A resample on which the objective is
    undefined for a run, as ROC AUC is where only one class was drawn, is drawn again. `tell(share, what)` hears
    of progress. DataError: the objective is undefined on these rows, or on nearly all resamples.
    """
    runs = [normalize_rows(run) for run in runs]
    scorer, random = _scorer(objective, references, runs), np.random.default_rng(seed)
    observed = scorer(np.ones((1, len(references))))[0]
    undefined = DataError(f"{objective} is undefined on these {len(references)} rows: too few of some label")
    if not np.isfinite(observed).all():
        raise undefined
    kept, done = [np.empty((0, len(runs)))], 0
    for counts in _counts(len(references), _chunk(references, runs, draws), MAX_REDRAWS * draws, random):
        scored = scorer(counts)
        kept.append(scored[np.isfinite(scored).all(axis=1)][: draws - done])
        done += len(kept[-1])
        if tell is not None:
            tell(done / draws, f"resampling {objective}")
        if done == draws:
            break
    else:
        raise undefined
    return ResampledScores(observed, np.concatenate(kept))


def paired_difference(
    resampled: ResampledScores, ours: Sequence[int], theirs: Sequence[int], sign: int = 1
) -> Difference:
    """How far our runs lie above theirs in the mean, and what other rows and other seeds could have made of it.

    `ours` and `theirs` are columns of the resampled scores, one per seed; sign is -1 where less is better, so that
    positive always means that ours is better. Chance is the sum of two parts:

    - rows: a normal, as wide as the difference is over the shared resamples;
    - seeds: of each side s^2 / seeds, which is what a bootstrap that draws n - 1 of n seeds tends to (Rao & Wu 1988),
      times Student's t with Welch's degrees of freedom (1947). Percentiles over 5 resampled seeds would be too narrow:
      a fifth of the variance is lost, and the tails are a normal's. One run shows no spread and adds none.

    Normal plus t is taken as it is (Behrens 1929, Fisher 1935). One t for both, with Satterthwaite's degrees of
    freedom, finds too much where a few seeds that differ widely stand against a single run. What a seed does to single
    rows is in both parts, so the interval errs on the wide side; in a bootstrap that draws rows and seeds at once it
    counts three times (Owen 2007).
    """
    ours, theirs = list(ours), list(theirs)
    contrast = np.zeros(len(resampled.observed))
    contrast[ours] += sign / len(ours)
    contrast[theirs] -= sign / len(theirs)
    found = float(contrast @ resampled.observed)
    rows = float(np.std(resampled.table @ contrast, ddof=1))
    parts = [(resampled.observed[side].var(ddof=1) / len(side), len(side) - 1) for side in (ours, theirs) if side[1:]]
    variance = sum(part for part, _ in parts)
    seeds, df = 0.0, None
    if variance > ROUNDING**2:
        seeds, df = float(np.sqrt(variance)), float(variance**2 / sum(part**2 / freedom for part, freedom in parts))
    if max(rows, seeds) < ROUNDING:
        return Difference(found, found, found, float(abs(found) < ROUNDING), 0.0, df)
    beyond = _beyond(rows, seeds, df)
    widest = rows * stats.norm.isf(ALPHA / 4) + (seeds * stats.t.isf(ALPHA / 4, df) if df else 0.0)
    half = float(optimize.brentq(lambda distance: beyond(distance) - ALPHA, 0.0, widest))
    return Difference(found, found - half, found + half, beyond(abs(found)), float(np.hypot(rows, seeds)), df)


def mcnemar_test(references: Array, ours: Array, theirs: Array) -> McNemarTest:
    """Whether two runs are as often right, from labels (n,): McNemar's test (1947), exact by the binomial."""
    right, their = ours == references, theirs == references
    only_ours, only_theirs = int((right & ~their).sum()), int((~right & their).sum())
    differing = only_ours + only_theirs
    p = float(stats.binomtest(only_ours, differing).pvalue) if differing else 1.0
    return McNemarTest(only_ours, only_theirs, p)


def holm_correction(p_values: Sequence[float]) -> list[float]:
    """P-values of one family, corrected: a false finding anywhere in it is as rare as one alone was (Holm 1979)."""
    found = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(found)
    corrected = np.empty(len(found))
    # The smallest of n counts n times, the next n - 1 times; a larger p-value never ends below a smaller one.
    corrected[order] = np.maximum.accumulate(found[order] * np.arange(len(found), 0, -1)).clip(max=1.0)
    return [float(p) for p in corrected]


def _beyond(rows: float, seeds: float, df: float | None) -> Callable[[float], float]:
    """The chance that |rows * normal + seeds * t| is as large as a distance, or larger."""
    if df is None:
        spreads, weights = np.array([rows]), np.ones(1)
    else:  # t is a normal whose variance is df / chi^2: for each chi^2 the sum is a normal, and these are averaged
        low, high = np.log([stats.chi2.ppf(1e-12, df), stats.chi2.isf(1e-12, df)])
        chi2 = np.exp(np.linspace(low, high, 300))
        weights = chi2 * stats.chi2.pdf(chi2, df)  # even steps of the logarithm
        spreads = np.sqrt(rows**2 + seeds**2 * df / chi2)
    return lambda distance: float(2 * special.ndtr(-distance / spreads) @ weights / weights.sum())


def _counts(rows: int, chunk: int, draws: int, random: np.random.Generator) -> Iterator[Array]:
    """Bootstrap resamples as (at most chunk, rows): how often each row was drawn; draws of them in all."""
    for start in range(0, draws, chunk):
        drawn = (random.integers(0, rows, rows) for _ in range(min(chunk, draws - start)))
        yield np.stack([np.bincount(places, minlength=rows) for places in drawn]).astype(np.float64)


def _chunk(references: Array, runs: Sequence[Array], draws: int) -> int:
    """How many resamples go at once, so that neither rows nor classes times runs take much memory."""
    cells = max(len(references), 4 * len(runs) * runs[0].shape[1])
    return int(min(draws, max(1, MAX_CELLS // cells)))


def _scorer(objective: str, references: Array, runs: Sequence[Array]) -> Scorer:
    """The fastest way to the objective; a new one in METRICS has the slow way, by rows, until it gets another here."""
    if objective == "accuracy":
        return _means([run.argmax(axis=1) == references for run in runs])
    if objective == "log_loss":
        tiny = np.finfo(np.float64).eps  # scikit-learn's bound
        return _means([-np.log(run[np.arange(len(run)), references].clip(tiny, 1 - tiny)) for run in runs])
    if objective == "roc_auc":
        return _areas(references, runs)
    kind, _, average = objective.partition("_")
    if kind in {"precision", "recall", "f1"} and average in {"", "macro", "weighted"}:
        return _on_labels(references, runs, lambda *counts: _averaged(kind, average, *counts))
    return _on_labels(references, runs, _mcc) if objective == "mcc" else _by_rows(objective, references, runs)


def _means(rows: Sequence[Array]) -> Scorer:
    """A metric that is the mean of something per row, (n,) for each run."""
    table = np.stack(rows, axis=1).astype(np.float64)
    return lambda counts: counts @ table / len(table)


def _by_rows(objective: str, references: Array, runs: Sequence[Array]) -> Scorer:
    """Any metric of METRICS, computed on the drawn rows themselves."""

    def score(counts: Array) -> Array:
        drawn = [np.repeat(np.arange(len(references)), row.astype(int)) for row in counts]
        return np.array([[compute_metric(objective, references[rows], run[rows]) for run in runs] for rows in drawn])

    return score


def _on_labels(references: Array, runs: Sequence[Array], metric: Callable[[Array, Array, Array], Array]) -> Scorer:
    """A metric of how often each class is rightly predicted, true, and predicted: each (..., k)."""
    classes, count = runs[0].shape[1], len(runs)
    predicted, true = np.stack([run.argmax(axis=1) for run in runs], axis=1), references[:, None]
    # Each row adds to 2 R + 1 sums: of its class and its prediction in each run, and of its class once.
    ones = [predicted == true, np.ones((len(true), count + 1))]
    places = [
        true + classes * np.arange(count),
        predicted + classes * (count + np.arange(count)),
        true + 2 * classes * count,
    ]
    starts = np.arange(len(true) + 1) * (2 * count + 1)
    columns = sparse.csr_array(
        (np.concatenate(ones, axis=1).ravel(), np.concatenate(places, axis=1).ravel(), starts),
        shape=(len(true), (2 * count + 1) * classes),
    )

    def score(counts: Array) -> Array:
        sums = (counts @ columns).reshape(len(counts), -1, classes)
        return metric(sums[:, :count], sums[:, -1:], sums[:, count:-1])

    return score


def _ratio(above: Array, below: Array, otherwise: float = 0.0) -> Array:
    """Above / below; where below is 0 it is 0, as scikit-learn is asked to, or what else it should be."""
    return np.asarray(np.divide(above, below, out=np.full(above.shape, otherwise), where=below > 0))


def _averaged(kind: str, average: str, right: Array, true: Array, predicted: Array) -> Array:
    """Precision, recall or F1: of the second class, or the mean over classes that occur, or over rows."""
    below = {"precision": predicted, "recall": true, "f1": (true + predicted) / 2}[kind]
    values = _ratio(right, below)
    if not average:
        return np.asarray(values[..., 1])
    weights = true if average == "weighted" else (true + predicted > 0)
    return np.asarray((values * weights).sum(axis=-1) / weights.sum(axis=-1))


def _mcc(right: Array, true: Array, predicted: Array) -> Array:
    """Matthews' correlation for any number of classes (Gorodkin 2004), 0 where either side has one class only."""
    rows = true.sum(axis=-1)
    spread = [rows**2 - (side**2).sum(axis=-1) for side in (true, predicted)]
    return _ratio(right.sum(axis=-1) * rows - (true * predicted).sum(axis=-1), np.sqrt(spread[0] * spread[1]))


def _areas(references: Array, runs: Sequence[Array]) -> Scorer:
    """Area under the ROC curve; more than two classes: each against each that occurs, unweighted (Hand & Till 2001)."""
    classes = runs[0].shape[1]
    pairs = (
        [(1, 0)] if classes == 2 else [side for a, b in combinations(range(classes), 2) for side in ((a, b), (b, a))]
    )

    def score(counts: Array) -> Array:
        by_row = np.ascontiguousarray(counts.T)
        table = np.zeros((len(runs), len(pairs), len(counts)))
        for run, areas in zip(runs, table, strict=True):
            for place, (positive, negative) in enumerate(pairs):
                areas[place] = _area(run[:, positive], references == positive, references == negative, by_row)
        defined = np.isfinite(table)
        return _ratio(np.where(defined, table, 0.0).sum(axis=1), defined.sum(axis=1), otherwise=np.nan).T

    return score


def _area(scores: Array, positive: Array, negative: Array, counts: Array) -> Array:
    """The chance (draws,) that a positive row outscores a negative one, ties half, of counts (n, draws)."""
    above, below = (rows[np.argsort(scores[rows])] for rows in (np.flatnonzero(positive), np.flatnonzero(negative)))
    beaten = np.zeros((len(below) + 1, counts.shape[1]))
    np.cumsum(counts[below], axis=0, out=beaten[1:])
    drawn, first, last = (
        counts[above],
        *(np.searchsorted(scores[below], scores[above], end) for end in ("left", "right")),
    )
    wins = np.einsum("ij,ij->j", drawn, beaten[first])
    if (first != last).any():
        wins = (wins + np.einsum("ij,ij->j", drawn, beaten[last])) / 2
    return _ratio(wins, drawn.sum(axis=0) * beaten[-1], otherwise=np.nan)
