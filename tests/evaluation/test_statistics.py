"""Differences, intervals and p-values: compared with textbook values, and on simulated systems of known accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hpo.errors import DataError
from hpo.evaluation import resampled_metrics, statistics
from hpo.evaluation.statistics import ResampledScores, holm_correction, mcnemar_test, paired_difference, resample_scores
from hpo.training.metrics import METRICS, unsuitable_reason


def draw_run(random: np.random.Generator, references: np.ndarray, classes: int) -> np.ndarray:
    """Draw probabilities with ties, better than chance."""
    weights = random.integers(1, 8, (len(references), classes)) + 6 * np.eye(classes)[references]
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


# ---- resampled scores


@pytest.mark.parametrize(
    ("objective", "classes"),
    [(name, count) for name in METRICS for count in (2, 4) if not unsuitable_reason(name, count)],
)
def test_resampled_scores_equal_scikit_learns_on_the_drawn_rows(objective: str, classes: int) -> None:
    random = np.random.default_rng(classes)
    references = random.permutation(np.arange(40) % classes)
    references[references == 1] = np.where(np.arange((references == 1).sum()) < 2, 1, 0)  # often not drawn
    runs = [draw_run(random, references, classes) for _ in range(3)] + [np.tile(np.eye(classes)[0], (40, 1))]
    (counts,) = statistics._draw_counts(40, 50, 50, random)
    assert (counts[:, references == 1].sum(axis=1) == 0).any()
    scores = resampled_metrics.build_scorer(objective, references, runs)(counts)
    expected = resampled_metrics.score_drawn_rows(objective, references, runs)(counts)
    assert scores.shape == (50, 4)
    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-12)


def test_all_runs_share_the_resamples_of_one_seed() -> None:
    random = np.random.default_rng(0)
    references = random.integers(0, 2, 400)
    one, other = (draw_run(random, references, 2) for _ in range(2))
    resampled = resample_scores("accuracy", references, [one, other, one], draws=500)
    assert (resampled.table[:, 0] == resampled.table[:, 2]).all() and (
        resampled.table[:, 0] != resampled.table[:, 1]
    ).any()
    assert (resample_scores("accuracy", references, [one], draws=500).table[:, 0] == resampled.table[:, 0]).all()
    assert (
        resample_scores("accuracy", references, [one], draws=500, seed=1).table[:, 0] != resampled.table[:, 0]
    ).any()
    share = (one.argmax(axis=1) == references).mean()
    assert resampled.observed[0] == pytest.approx(share) and resampled.table[:, 0].mean() == pytest.approx(
        share, abs=0.005
    )
    assert resampled.table[:, 0].std() == pytest.approx(np.sqrt(share * (1 - share) / 400), rel=0.1)


def test_resampling_in_chunks_changes_nothing_and_reports_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    references = random.integers(0, 2, 100)
    runs = [draw_run(random, references, 2)]
    whole = resample_scores("f1_macro", references, runs, draws=50)
    monkeypatch.setattr(statistics, "MAX_CELLS", 1600)  # 16 resamples of 100 rows
    shares: list[float] = []
    parts = resample_scores("f1_macro", references, runs, draws=50, progress=lambda share, _: shares.append(share))
    np.testing.assert_allclose(parts.table, whole.table)
    assert shares == [0.32, 0.64, 0.96, 1.0]


def test_undefined_resamples_are_drawn_again() -> None:
    random = np.random.default_rng(0)
    references = np.array([1] * 2 + [0] * 38)  # no resample in 8 has a 1
    runs = [draw_run(random, references, 2) for _ in range(2)]
    resampled = resample_scores("roc_auc", references, runs, draws=300)
    assert resampled.table.shape == (300, 2) and np.isfinite(resampled.table).all()
    with pytest.raises(DataError, match="roc_auc is undefined on these 40 rows"):
        resample_scores("roc_auc", np.zeros(40, dtype=int), runs)


def test_a_new_metric_is_resampled_without_a_fast_scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = replace(METRICS["mcc"], function=lambda true, predicted: (true != predicted).sum(), direction="minimize")
    monkeypatch.setitem(METRICS, "errors", errors)
    references = np.arange(30) % 2
    resampled = resample_scores("errors", references, [np.eye(2)[references], np.eye(2)[1 - references]], draws=20)
    assert (resampled.table == [0, 30]).all()


# ---- one difference


def test_two_single_runs_differ_by_rows_only() -> None:
    table = np.random.default_rng(0).normal(size=(500, 2)) * 0.01 + [0.9, 0.88]
    difference = paired_difference(ResampledScores(np.array([0.9, 0.88]), table), [0], [1])
    error = (table[:, 0] - table[:, 1]).std(ddof=1)
    assert difference.standard_error == pytest.approx(error) and difference.df is None
    assert (difference.low, difference.high) == pytest.approx(
        (0.02 - 1.95996 * error, 0.02 + 1.95996 * error), rel=1e-4
    )
    assert difference.p == pytest.approx(2 * stats.norm.sf(0.02 / error))


@pytest.mark.parametrize("theirs", [5, 3, 2, 1])
def test_difference_without_row_noise_equals_welchs_test(theirs: int) -> None:
    observed = np.random.default_rng(theirs).normal(0.9, 0.01, 4 + theirs)
    difference = paired_difference(
        ResampledScores(observed, np.tile(observed, (100, 1))), range(4), range(4, 4 + theirs)
    )
    if theirs > 1:
        welch = stats.ttest_ind(observed[:4], observed[4:], equal_var=False)
    else:
        welch = stats.ttest_1samp(observed[:4], observed[4])
    interval = welch.confidence_interval()
    shift = observed[4] if theirs == 1 else 0.0  # scipy's one-sample interval is of the mean, not the difference
    assert (difference.p, difference.df) == pytest.approx((welch.pvalue, welch.df), rel=1e-4)
    assert (difference.low, difference.high) == pytest.approx((interval.low - shift, interval.high - shift), rel=1e-4)


def test_error_is_the_sum_of_rows_and_seeds() -> None:
    random = np.random.default_rng(0)
    observed = np.array([0.90, 0.91, 0.93, 0.88, 0.89, 0.885])
    table = observed + 0.004 * random.normal(size=(1000, 6))
    difference = paired_difference(ResampledScores(observed, table), [0, 1, 2], [3, 4, 5])
    rows = (table[:, :3].mean(axis=1) - table[:, 3:].mean(axis=1)).std(ddof=1)
    seeds = np.sqrt(observed[:3].var(ddof=1) / 3 + observed[3:].var(ddof=1) / 3)
    assert difference.df is not None
    drawn = np.abs(random.normal(0, rows, 1_000_000) + seeds * random.standard_t(difference.df, 1_000_000))
    assert difference.standard_error == pytest.approx(np.hypot(rows, seeds))
    assert difference.p == pytest.approx((drawn >= difference.difference).mean(), rel=0.02)
    assert (difference.high - difference.low) / 2 == pytest.approx(np.quantile(drawn, 0.95), rel=0.01)
    assert difference.low + difference.high == pytest.approx(2 * difference.difference)


def test_seed_part_equals_the_limit_of_resampling_seeds() -> None:
    # Rao & Wu: n - 1 of n are drawn. Rows and seeds do not interact here; drawing both at once would add that again.
    random = np.random.default_rng(0)
    observed = np.array([0.90, 0.91, 0.93, 0.88, 0.85])
    table = observed + 0.01 * random.normal(size=(20_000, 1)) * [1, 1, 1, 0, 0]
    drawn = table.copy()
    ours, theirs = random.integers(0, 3, (20_000, 2)), random.integers(3, 5, (20_000, 1))
    means = [np.take_along_axis(drawn, side, axis=1).mean(axis=1) for side in (ours, theirs)]
    difference = paired_difference(ResampledScores(observed, table), [0, 1, 2], [3, 4])
    assert (means[0] - means[1]).std() == pytest.approx(difference.standard_error, rel=0.02)


def test_positive_difference_is_a_gain_for_losses_too() -> None:
    losses = ResampledScores(
        np.array([0.2, 0.3]), np.array([0.2, 0.3]) + 0.01 * np.random.default_rng(0).normal(size=(99, 2))
    )
    difference, reverse = paired_difference(losses, [0], [1], sign=-1), paired_difference(losses, [1], [0], sign=-1)
    assert difference.difference == pytest.approx(0.1) and 0 < difference.low < 0.1 < difference.high
    assert (reverse.difference, reverse.low, reverse.high) == pytest.approx((-0.1, -difference.high, -difference.low))
    assert reverse.p == pytest.approx(difference.p)


def test_runs_without_spread_give_an_empty_interval() -> None:
    # The mean of five equal numbers is off by rounding, which must not count as a difference.
    table = np.repeat(np.random.default_rng(0).random((200, 1)), 6, axis=1)
    same = paired_difference(ResampledScores(np.full(6, 0.1), table), range(5), [5])
    assert same.p == 1.0 and same.low == same.high == same.difference == pytest.approx(0.0, abs=1e-12)
    apart = paired_difference(ResampledScores(np.array([1.0, 0.0]), np.tile([1.0, 0.0], (200, 1))), [0], [1])
    assert (apart.difference, apart.low, apart.high, apart.p) == (1.0, 1.0, 1.0, 0.0)


# ---- McNemar and Holm


def test_mcnemar_equals_a_binomial_test_of_the_differing_rows() -> None:
    references = np.zeros(20, dtype=int)
    ours, theirs = references.copy(), references.copy()
    ours[:2], theirs[2:11], ours[11:13], theirs[11:13] = 1, 1, 1, 1
    result = mcnemar_test(references, ours, theirs)
    assert (result.only_ours, result.only_theirs) == (9, 2)
    assert result.p == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert mcnemar_test(references, ours, ours).p == 1.0


def test_holm_correction_equals_hand_calculation() -> None:
    assert holm_correction([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm_correction([]) == [] and holm_correction([0.2]) == pytest.approx([0.2])


# ---- simulated systems of known accuracy

TIMES, DRAWS = 500, 100
SHARED, INDIVIDUAL = 3.0, 1.5  # standard deviation of the rows' difficulty in logits: for all systems, and for each
_sample = np.random.default_rng(0)
LATENT = np.sort(_sample.normal(0, np.hypot(SHARED, INDIVIDUAL), 200_000) + _sample.logistic(size=200_000))


def simulate_system(random: np.random.Generator, shared: np.ndarray, accuracies: np.ndarray) -> list[np.ndarray]:
    """Simulate one run per expected accuracy; the row, the system and chance decide which rows are right."""
    rows, ease = len(shared), np.quantile(LATENT, accuracies)[:, None]
    noise = random.logistic(size=(len(accuracies), rows))
    right = ease + SHARED * shared + INDIVIDUAL * random.normal(size=rows) + noise > 0
    return [np.column_stack([run, ~run]) for run in right]  # every reference is 0


def simulate_pairs(
    seeds: tuple[int, int], spread: float, gap: float, rows: int, times: int, seed: int = 0
) -> Iterator[tuple[ResampledScores, range, range]]:
    """Yield two systems on fresh rows with fresh seeds, whose accuracies have standard deviation `spread`."""
    random = np.random.default_rng([seed, *seeds])
    sides = range(seeds[0]), range(seeds[0], sum(seeds))
    for draw in range(times):
        shared, runs = random.normal(size=rows), []
        for index, count in enumerate(seeds):
            deviations = random.normal(0, spread, count) if count > 1 else np.zeros(1)
            runs += simulate_system(random, shared, (0.90 - gap * index + deviations).clip(0, 1))
        yield resample_scores("accuracy", np.zeros(rows, dtype=int), runs, DRAWS, seed=draw), *sides


def p_values(seeds: tuple[int, int], spread: float, gap: float = 0.0, rows: int = 800, seed: int = 0) -> list[float]:
    """Return the p-value of the difference of each simulated pair."""
    return [paired_difference(*pair).p for pair in simulate_pairs(seeds, spread, gap, rows, TIMES, seed)]


def share_below(values: Sequence[float], level: float = 0.05) -> float:
    return float(np.mean(np.array(values) < level))


@pytest.mark.parametrize(
    ("seeds", "spread"),
    [((5, 5), 0.0), ((5, 5), 0.005), ((5, 5), 0.03), ((5, 1), 0.005), ((5, 1), 0.03), ((2, 2), 0.01)],
)
def test_equal_systems_are_called_different_in_at_most_5_percent(seeds: tuple[int, int], spread: float) -> None:
    assert share_below(p_values(seeds, spread)) <= 0.05


def test_simpler_intervals_are_too_narrow_if_3_seeds_differ_by_3_points() -> None:
    random, ours, percentiles, rows_alone = np.random.default_rng(0), [], [], []
    for resampled, first, second in simulate_pairs((3, 3), 0.03, 0.0, 800, TIMES):
        ours.append(paired_difference(resampled, first, second).p)
        table = np.repeat(resampled.table, 10, axis=0)
        drawn = [
            np.take_along_axis(table, random.integers(side[0], side[-1] + 1, (len(table), 3)), axis=1).mean(axis=1)
            for side in (first, second)
        ]
        share = (drawn[0] > drawn[1]).mean()
        percentiles.append(2 * min(share, 1 - share))
        above = resampled.observed[first].mean() - resampled.observed[second].mean()
        spread = (resampled.table[:, first].mean(axis=1) - resampled.table[:, second].mean(axis=1)).std()
        rows_alone.append(2 * stats.norm.sf(abs(above) / spread))
    assert share_below(ours) <= 0.05
    assert share_below(percentiles) > 0.08  # bootstrap of rows and 3 of 3 seeds, percentile interval
    assert share_below(rows_alone) > 0.3


@pytest.mark.parametrize("seeds", [(5, 5), (5, 1)])
def test_a_gap_of_3_points_on_2000_rows_is_detected_in_at_least_90_percent(seeds: tuple[int, int]) -> None:
    assert share_below(p_values(seeds, 0.005, gap=0.03, rows=2000)) >= 0.90
