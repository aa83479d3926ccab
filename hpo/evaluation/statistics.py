"""Paired differences between systems: confidence intervals over rows and seeds, and corrected p-values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from hpo.errors import DataError
from hpo.evaluation.comparison_result import McNemarResult, SeedNoise
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
class Side:
    """The runs of one system: their columns in a ResampledScores.

    A deterministic system has one run, and another seed would give the same one.
    """

    columns: Sequence[int]
    is_deterministic: bool = False


@dataclass(frozen=True)
class Difference:
    """How much better ours is than theirs, in the metric's unit; a gain is positive.

    Attributes:
        difference: Mean score of our runs minus that of theirs.
        rows: Standard error from the choice of test rows.
        seeds: Standard error from the choice of seeds, beyond what single rows explain.
        df: Degrees of freedom of `seeds`; None if it is 0.
        seed_noise: Whether `seeds` covers both sides. "borrowed": one side has a single run, and its variation between
            seeds is assumed to be that of the other. "unknown": no side shows how much seeds matter, so interval and
            p-value are about other rows only, and say nothing about other seeds.
    """

    difference: float
    rows: float
    seeds: float = 0.0
    df: float | None = None
    seed_noise: SeedNoise = "measured"

    @property
    def standard_error(self) -> float:
        """The standard error from rows and seeds together."""
        return float(np.hypot(self.rows, self.seeds))

    @property
    def p(self) -> float:
        """The two-sided p-value of no difference."""
        if self.standard_error < ROUNDING:
            return float(abs(self.difference) < ROUNDING)
        return self._exceedance(abs(self.difference))

    def half_width(self, alpha: float = ALPHA) -> float:
        """Return half the width of the confidence interval of level 1 - alpha."""
        if self.standard_error < ROUNDING:
            return 0.0
        # Half the probability in each part bounds their sum from above, which brackets the root.
        by_seeds = self.seeds * stats.t.isf(alpha / 4, self.df) if self.df else 0.0
        widest = self.rows * stats.norm.isf(alpha / 4) + by_seeds
        return float(optimize.brentq(lambda distance: self._exceedance(distance) - alpha, 0.0, widest))

    def _exceedance(self, distance: float) -> float:
        """Return the probability that |rows * normal + seeds * t| is at least `distance`."""
        spreads, weights = self._mixture
        return float(2 * special.ndtr(-distance / spreads) @ weights / weights.sum())

    @cached_property
    def _mixture(self) -> tuple[Array, Array]:
        """The standard deviations of the normals that rows * normal + seeds * t is a mixture of, and their weights."""
        if self.df is None:
            return np.array([self.rows]), np.ones(1)
        # t is a normal whose variance is df / chi^2. Given chi^2 the sum is normal; average these over chi^2.
        low, high = np.log([stats.chi2.ppf(1e-12, self.df), stats.chi2.isf(1e-12, self.df)])
        chi2 = np.exp(np.linspace(low, high, 300))
        weights = chi2 * stats.chi2.pdf(chi2, self.df)  # the steps are even in the logarithm
        return np.sqrt(self.rows**2 + self.seeds**2 * self.df / chi2), weights


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


def paired_difference(resampled: ResampledScores, ours: Side, theirs: Side, sign: int = 1) -> Difference:
    """Compare the mean score of our runs with theirs; the interval covers other test rows and other seeds.

    The error of the difference is the sum of two independent parts:

    - rows: normal, with the standard deviation of the difference over the shared resamples;
    - seeds: of each side its variance between seeds / number of seeds, times Student's t with Welch's degrees of
      freedom (1947). Percentiles over 5 resampled seeds would be too narrow: they lose a fifth of the variance, and
      have the tails of a normal.

    Runs of one system differ for two reasons: their seeds, and the rows on which they disagree by chance. The second
    is in the rows' part already, so it is subtracted from the variance between seeds (see `_SeedSpread.measure`).
    Counting it twice makes the interval of two seeds twice as wide as it should be.

    The distribution of normal plus t is computed as it is (Behrens 1929, Fisher 1935). One t for both parts, with
    Satterthwaite's degrees of freedom, rejects too often if a few seeds that differ widely are compared with a single
    run.

    Args:
        resampled: Scores of R runs.
        ours: Our runs in `resampled`, one per seed.
        theirs: Their runs.
        sign: -1 if lower scores are better, so that a positive difference always means that ours is better.
    """
    contrast = np.zeros(len(resampled.observed))
    contrast[list(ours.columns)] += sign / len(ours.columns)
    contrast[list(theirs.columns)] -= sign / len(theirs.columns)
    difference = float(contrast @ resampled.observed)
    rows = float(np.std(resampled.table @ contrast, ddof=1))
    # A single run of a deterministic system is all there is to see of it: no other seed would change it.
    sides = [side for side in (ours, theirs) if not side.is_deterministic]
    spreads = [_SeedSpread.measure(resampled, side) for side in sides if len(side.columns) > 1]
    singles = sum(len(side.columns) == 1 for side in sides)
    if singles and not spreads:
        return Difference(difference, rows, seed_noise="unknown")
    if singles:
        spreads = [spread.with_a_single_run() for spread in spreads]
    variance, total = sum(spread.variance for spread in spreads), sum(spread.total for spread in spreads)
    noise: SeedNoise = "borrowed" if singles else "measured"
    if variance < ROUNDING**2:
        return Difference(difference, rows, seed_noise=noise)
    df = float(total**2 / sum(spread.total**2 / spread.df for spread in spreads))
    return Difference(difference, rows, float(np.sqrt(variance)), df, noise)


@dataclass(frozen=True)
class _SeedSpread:
    """The variance of one side's mean score over seeds."""

    total: float  # as observed, with the runs' disagreement on single rows
    variance: float  # without it
    seeds: int

    @property
    def df(self) -> int:
        return self.seeds - 1

    @classmethod
    def measure(cls, resampled: ResampledScores, side: Side) -> _SeedSpread:
        """Measure the variance between the runs of a side.

        On resampled rows each run scatters around the mean of the runs. That variance, corrected for the mean, is what
        rows alone contribute to the observed variance between runs.
        """
        seeds = len(side.columns)
        observed = float(resampled.observed[list(side.columns)].var(ddof=1))
        scores = resampled.table[:, list(side.columns)]
        deviations = scores - scores.mean(axis=1, keepdims=True)
        by_rows = float(deviations.var(axis=0, ddof=1).mean()) * seeds / (seeds - 1)
        return cls(observed / seeds, max(0.0, observed - by_rows) / seeds, seeds)

    def with_a_single_run(self) -> _SeedSpread:
        """Add the variance of a single run of the other side, assumed to vary between seeds as much as this one."""
        return replace(self, total=self.total * (1 + self.seeds), variance=self.variance * (1 + self.seeds))


def mcnemar_test(references: Array, ours: Array, theirs: Array) -> McNemarResult:
    """Test whether two runs are equally often right, from labels (n,): McNemar 1947, exact by the binomial."""
    ours_right, theirs_right = ours == references, theirs == references
    only_ours, only_theirs = int((ours_right & ~theirs_right).sum()), int((~ours_right & theirs_right).sum())
    differing = only_ours + only_theirs
    p = float(stats.binomtest(only_ours, differing).pvalue) if differing else 1.0
    return McNemarResult(only_ours=only_ours, only_theirs=only_theirs, p=p)


def holm_factors(p_values: Sequence[float]) -> list[float]:
    """Return what each p-value of a family of tests is multiplied by, in their order (Holm 1979).

    If a test rejects where its p-value times its factor is below the level, the probability of any false rejection in
    the family is at most the level. A confidence interval of level 1 - alpha / factor agrees with that test.
    """
    uncorrected = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(uncorrected, kind="stable")
    # The smallest of n is multiplied by n, the next by n - 1; a larger p-value never ends below a smaller one.
    factors = np.arange(len(uncorrected), 0, -1, dtype=np.float64)
    corrected = np.maximum.accumulate(uncorrected[order] * factors)
    positive = uncorrected[order] > 0
    factors[positive] = corrected[positive] / uncorrected[order][positive]
    in_order = np.empty(len(uncorrected))
    in_order[order] = factors
    return [float(factor) for factor in in_order]


def sign_flip_p(row_differences: Array) -> float:
    """Return the exact two-sided p-value that differences per row (n,) are symmetric around 0 (Fisher 1935).

    Rows without a difference say nothing, and the others may have had either sign. For two runs and accuracy it is
    McNemar's exact test. All 2^k signs of k differing rows are tried, so use it for few of them.
    """
    sizes = np.abs(row_differences[np.abs(row_differences) > ROUNDING])
    if not len(sizes):
        return 1.0
    signs = 1 - 2 * ((np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes))) & 1)
    return float((np.abs(signs @ sizes) >= abs(row_differences.sum()) - ROUNDING).mean())


def _draw_counts(rows: int, chunk: int, draws: int, random: np.random.Generator) -> Iterator[Array]:
    """Yield bootstrap resamples in chunks (at most chunk, rows): how often each row was drawn."""
    for start in range(0, draws, chunk):
        drawn = (random.integers(0, rows, rows) for _ in range(min(chunk, draws - start)))
        yield np.stack([np.bincount(indices, minlength=rows) for indices in drawn]).astype(np.float64)


def _chunk_size(references: Array, runs: Sequence[Array], draws: int) -> int:
    """Return how many resamples to score at once, so that neither rows nor classes times runs take much memory."""
    cells = max(len(references), 4 * len(runs) * runs[0].shape[1])
    return int(min(draws, max(1, MAX_CELLS // cells)))
