"""Paired differences between systems: confidence intervals over rows and seeds, and corrected p-values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from hpo.errors import DataError
from hpo.evaluation.comparison_result import McNemarResult
from hpo.evaluation.resampled_metrics import build_scorer
from hpo.evaluation.scores import normalize_rows

Array = NDArray[Any]
MAX_CELLS = 2_000_000  # of the largest array at a time: 16 MB
MAX_REDRAWS = 20  # resamples tried per resample wanted, before the metric is reported as undefined
ALPHA = 0.05
ROUNDING = 1e-12  # scores closer than this differ by rounding only


@dataclass(frozen=True)
class ResampledScores:
    """The scores of R runs: `observed` (R,), and `table` (draws, R) on bootstrap resamples that all runs share."""

    observed: Array
    table: Array


@dataclass(frozen=True)
class Difference:
    """How much better ours is than theirs, in the metric's unit: 95 % interval from low to high, two-sided p.

    `standard_error` is of rows and seeds together. `df` are the degrees of freedom of the seeds' part, None if neither
    side's runs differ.
    """

    difference: float
    low: float
    high: float
    p: float
    standard_error: float
    df: float | None


def resample_scores(
    objective: str,
    references: Array,
    runs: Sequence[Array],
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> ResampledScores:
    """Score each run on all rows and on bootstrap resamples of the rows (Efron 1979), which all runs share.

    A resample on which the objective is undefined for a run is drawn again; ROC AUC is undefined if only one class
    was drawn.

    Args:
        objective: A name in METRICS.
        references: True labels (n,).
        runs: Class probabilities (n, k) of each of R runs, over the same rows.
        draws: Number of resamples.
        seed: Seed of the resamples.
        progress: Receives the finished share and a description.

    Returns:
        Scores (R,) on all rows and (draws, R) on the resamples.

    Raises:
        DataError: The objective is undefined on these rows, or on nearly all resamples.
    """
    runs = [normalize_rows(run) for run in runs]
    scorer, random = build_scorer(objective, references, runs), np.random.default_rng(seed)
    observed = scorer(np.ones((1, len(references))))[0]
    undefined = DataError(f"{objective} is undefined on these {len(references)} rows: too few of some label")
    if not np.isfinite(observed).all():
        raise undefined
    kept, done = [np.empty((0, len(runs)))], 0
    for counts in _draw_counts(len(references), _chunk_size(references, runs, draws), MAX_REDRAWS * draws, random):
        scored = scorer(counts)
        kept.append(scored[np.isfinite(scored).all(axis=1)][: draws - done])
        done += len(kept[-1])
        if progress is not None:
            progress(done / draws, f"resampling {objective}")
        if done == draws:
            break
    else:
        raise undefined
    return ResampledScores(observed, np.concatenate(kept))


def paired_difference(
    resampled: ResampledScores, ours: Sequence[int], theirs: Sequence[int], sign: int = 1
) -> Difference:
    """Compare the mean score of our runs with theirs; the interval covers other test rows and other seeds.

    The error of the difference is the sum of two independent parts:

    - rows: normal, with the standard deviation of the difference over the shared resamples;
    - seeds: of each side s^2 / seeds, the limit of a bootstrap that draws n - 1 of n seeds (Rao & Wu 1988), times
      Student's t with Welch's degrees of freedom (1947). Percentiles over 5 resampled seeds would be too narrow: they
      lose a fifth of the variance, and have the tails of a normal. A single run shows no spread and adds none.

    The distribution of normal plus t is computed as it is (Behrens 1929, Fisher 1935). One t for both parts, with
    Satterthwaite's degrees of freedom, rejects too often if a few seeds that differ widely are compared with a single
    run. The interaction of seeds and single rows is in both parts, so the interval errs on the wide side; a bootstrap
    that draws rows and seeds at once counts it three times (Owen 2007).

    Args:
        resampled: Scores of R runs.
        ours: Columns of our runs in `resampled`, one per seed.
        theirs: Columns of their runs.
        sign: -1 if lower scores are better, so that a positive difference always means that ours is better.
    """
    ours, theirs = list(ours), list(theirs)
    contrast = np.zeros(len(resampled.observed))
    contrast[ours] += sign / len(ours)
    contrast[theirs] -= sign / len(theirs)
    difference = float(contrast @ resampled.observed)
    rows = float(np.std(resampled.table @ contrast, ddof=1))
    parts = [(resampled.observed[side].var(ddof=1) / len(side), len(side) - 1) for side in (ours, theirs) if side[1:]]
    variance = sum(part for part, _ in parts)
    seeds, df = 0.0, None
    if variance > ROUNDING**2:
        seeds, df = float(np.sqrt(variance)), float(variance**2 / sum(part**2 / freedom for part, freedom in parts))
    if max(rows, seeds) < ROUNDING:
        return Difference(difference, difference, difference, float(abs(difference) < ROUNDING), 0.0, df)
    exceedance = _exceedance(rows, seeds, df)
    # Half the probability in each part bounds their sum from above, which brackets the root.
    widest = rows * stats.norm.isf(ALPHA / 4) + (seeds * stats.t.isf(ALPHA / 4, df) if df else 0.0)
    half = float(optimize.brentq(lambda distance: exceedance(distance) - ALPHA, 0.0, widest))
    error = float(np.hypot(rows, seeds))
    return Difference(difference, difference - half, difference + half, exceedance(abs(difference)), error, df)


def mcnemar_test(references: Array, ours: Array, theirs: Array) -> McNemarResult:
    """Test whether two runs are equally often right, from labels (n,): McNemar 1947, exact by the binomial."""
    ours_right, theirs_right = ours == references, theirs == references
    only_ours, only_theirs = int((ours_right & ~theirs_right).sum()), int((~ours_right & theirs_right).sum())
    differing = only_ours + only_theirs
    p = float(stats.binomtest(only_ours, differing).pvalue) if differing else 1.0
    return McNemarResult(only_ours=only_ours, only_theirs=only_theirs, p=p)


def holm_correction(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of one family of tests, in their order (Holm 1979).

    The probability of any false rejection in the family is then at most the level of a single test.
    """
    uncorrected = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(uncorrected)
    corrected = np.empty(len(uncorrected))
    # The smallest of n is multiplied by n, the next by n - 1; a larger p-value never ends below a smaller one.
    factors = np.arange(len(uncorrected), 0, -1)
    corrected[order] = np.maximum.accumulate(uncorrected[order] * factors).clip(max=1.0)
    return [float(p) for p in corrected]


def _exceedance(rows: float, seeds: float, df: float | None) -> Callable[[float], float]:
    """Return the function distance -> probability that |rows * normal + seeds * t| is at least that large."""
    if df is None:
        spreads, weights = np.array([rows]), np.ones(1)
    else:
        # t is a normal whose variance is df / chi^2. Given chi^2 the sum is normal; average these over chi^2.
        low, high = np.log([stats.chi2.ppf(1e-12, df), stats.chi2.isf(1e-12, df)])
        chi2 = np.exp(np.linspace(low, high, 300))
        weights = chi2 * stats.chi2.pdf(chi2, df)  # the steps are even in the logarithm
        spreads = np.sqrt(rows**2 + seeds**2 * df / chi2)
    return lambda distance: float(2 * special.ndtr(-distance / spreads) @ weights / weights.sum())


def _draw_counts(rows: int, chunk: int, draws: int, random: np.random.Generator) -> Iterator[Array]:
    """Yield bootstrap resamples in chunks (at most chunk, rows): how often each row was drawn."""
    for start in range(0, draws, chunk):
        drawn = (random.integers(0, rows, rows) for _ in range(min(chunk, draws - start)))
        yield np.stack([np.bincount(indices, minlength=rows) for indices in drawn]).astype(np.float64)


def _chunk_size(references: Array, runs: Sequence[Array], draws: int) -> int:
    """Return how many resamples to score at once, so that neither rows nor classes times runs take much memory."""
    cells = max(len(references), 4 * len(runs) * runs[0].shape[1])
    return int(min(draws, max(1, MAX_CELLS // cells)))
