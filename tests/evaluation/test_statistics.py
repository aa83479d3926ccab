"""Differences, intervals and p-values: compared with textbook values, and on simulated systems of known accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hpo.errors import DataError
from hpo.evaluation import resampled_metrics, statistics
from hpo.evaluation.statistics import (
    ResampledScores,
    Side,
    holm_factors,
    mcnemar_test,
    paired_difference,
    resample_scores,
    sign_flip_p,
)
from hpo.training.metrics import METRICS, unsuitable_reason
from tests.support.simulated_systems import POWER_CELLS, SIZE_CELLS, Cell


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


def noisy(observed: Sequence[float] | np.ndarray, noise: np.ndarray) -> ResampledScores:
    """Return scores whose resamples are the observed ones plus noise (draws, R)."""
    return ResampledScores(np.array(observed), np.array(observed) + noise)


def test_two_single_runs_differ_by_rows_only() -> None:
    resampled = noisy([0.9, 0.88], np.random.default_rng(0).normal(size=(500, 2)) * 0.01)
    difference = paired_difference(resampled, Side([0]), Side([1]))
    error = (resampled.table[:, 0] - resampled.table[:, 1]).std(ddof=1)
    assert difference.standard_error == pytest.approx(error) and difference.df is None
    assert difference.half_width() == pytest.approx(1.95996 * error, rel=1e-4)
    assert difference.p == pytest.approx(2 * stats.norm.sf(0.02 / error))
    assert difference.seed_noise == "unknown"


@pytest.mark.parametrize("theirs", [5, 3, 2, 1])
def test_difference_without_row_noise_equals_welchs_test(theirs: int) -> None:
    observed = np.random.default_rng(theirs).normal(0.9, 0.01, 4 + theirs)
    resampled = ResampledScores(observed, np.tile(observed, (100, 1)))
    difference = paired_difference(resampled, Side(range(4)), Side(range(4, 4 + theirs), is_deterministic=theirs == 1))
    if theirs > 1:
        welch = stats.ttest_ind(observed[:4], observed[4:], equal_var=False)
    else:
        welch = stats.ttest_1samp(observed[:4], observed[4])
    interval = welch.confidence_interval()
    assert difference.seed_noise == "measured"
    assert (difference.p, difference.df) == pytest.approx((welch.pvalue, welch.df), rel=1e-4)
    assert 2 * difference.half_width() == pytest.approx(interval.high - interval.low, rel=1e-4)


def test_a_single_stochastic_run_is_assumed_to_vary_as_the_other_side_does() -> None:
    observed = np.random.default_rng(0).normal(0.9, 0.01, 5)
    resampled = ResampledScores(observed, np.tile(observed, (100, 1)))
    student = stats.ttest_ind(observed[:4], observed[4:])  # of equal variance, which the four runs alone determine
    for ours, theirs in (((0, 1, 2, 3), (4,)), ((4,), (0, 1, 2, 3))):
        difference = paired_difference(resampled, Side(ours), Side(theirs))
        assert difference.seed_noise == "borrowed"
        assert (difference.p, difference.df) == pytest.approx((student.pvalue, 3), rel=1e-4)


def test_error_is_the_sum_of_rows_and_seeds() -> None:
    random = np.random.default_rng(0)
    observed = np.array([0.90, 0.91, 0.93, 0.88, 0.89, 0.885])
    shared = np.repeat(0.004 * random.normal(size=(1000, 2)), 3, axis=1)  # runs of one side agree on every row
    resampled = noisy(observed, shared)
    difference = paired_difference(resampled, Side([0, 1, 2]), Side([3, 4, 5]))
    rows = (resampled.table[:, :3].mean(axis=1) - resampled.table[:, 3:].mean(axis=1)).std(ddof=1)
    seeds = np.sqrt(observed[:3].var(ddof=1) / 3 + observed[3:].var(ddof=1) / 3)
    assert (difference.rows, difference.seeds) == pytest.approx((rows, seeds)) and difference.df is not None
    drawn = np.abs(random.normal(0, rows, 1_000_000) + seeds * random.standard_t(difference.df, 1_000_000))
    assert difference.standard_error == pytest.approx(np.hypot(rows, seeds))
    assert difference.p == pytest.approx((drawn >= difference.difference).mean(), rel=0.02)
    assert difference.half_width() == pytest.approx(np.quantile(drawn, 0.95), rel=0.01)
    assert difference.half_width(0.01) == pytest.approx(np.quantile(drawn, 0.99), rel=0.02)


def test_disagreement_of_runs_on_single_rows_is_counted_once() -> None:
    """Runs that differ by chance on single rows only have no variance between seeds."""
    random, observed, between = np.random.default_rng(0), 0.0, 0.0
    for _ in range(200):
        right = random.random((400, 8)) < 0.9
        counts = random.multinomial(400, np.full(400, 1 / 400), size=100)
        resampled = ResampledScores(right.mean(axis=0), counts @ right / 400)
        difference = paired_difference(resampled, Side(range(4)), Side(range(4, 8)))
        observed += resampled.observed[:4].var(ddof=1) / 4 + resampled.observed[4:].var(ddof=1) / 4
        between += difference.seeds**2
    assert between < 0.35 * observed  # it would be 0 without the cut at 0


def test_positive_difference_is_a_gain_for_losses_too() -> None:
    losses = noisy([0.2, 0.3], 0.01 * np.random.default_rng(0).normal(size=(99, 2)))
    difference, reverse = (paired_difference(losses, Side([a]), Side([1 - a]), sign=-1) for a in (0, 1))
    assert difference.difference == pytest.approx(0.1) and reverse.difference == pytest.approx(-0.1)
    assert 0 < difference.half_width() < 0.1 and reverse.p == pytest.approx(difference.p)


def test_runs_without_spread_give_an_empty_interval() -> None:
    # The mean of five equal numbers is off by rounding, which must not count as a difference.
    table = np.repeat(np.random.default_rng(0).random((200, 1)), 6, axis=1)
    same = paired_difference(ResampledScores(np.full(6, 0.1), table), Side(range(5)), Side([5], is_deterministic=True))
    assert same.p == 1.0 and same.half_width() == 0.0 and same.difference == pytest.approx(0.0, abs=1e-12)
    scores = np.array([1.0, 0.0])
    apart = paired_difference(ResampledScores(scores, np.tile(scores, (200, 1))), Side([0]), Side([1]))
    assert (apart.difference, apart.half_width(), apart.p) == (1.0, 0.0, 0.0)


# ---- McNemar and Holm


def test_mcnemar_equals_a_binomial_test_of_the_differing_rows() -> None:
    references = np.zeros(20, dtype=int)
    ours, theirs = references.copy(), references.copy()
    ours[:2], theirs[2:11], ours[11:13], theirs[11:13] = 1, 1, 1, 1
    result = mcnemar_test(references, ours, theirs)
    assert (result.only_ours, result.only_theirs) == (9, 2)
    assert result.p == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert mcnemar_test(references, ours, ours).p == 1.0


def test_holm_factors_equal_hand_calculation() -> None:
    p_values = [0.01, 0.04, 0.03, 0.5]
    corrected = [p * factor for p, factor in zip(p_values, holm_factors(p_values), strict=True)]
    assert corrected == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm_factors([]) == [] and holm_factors([0.2]) == [1.0] and holm_factors([0.0, 0.0]) == [2.0, 1.0]


def test_sign_flips_equal_mcnemar_for_single_runs_and_count_ties() -> None:
    differences = np.array([1, 1, 1, 1, 1, 1, -1, 0, 0])
    assert sign_flip_p(differences) == pytest.approx(stats.binomtest(6, 7).pvalue)
    assert sign_flip_p(np.zeros(5)) == 1.0
    assert sign_flip_p(np.array([0.4, 0.2, 0.0])) == 0.5, "of 4 sign patterns, +- 0.6 are as extreme"


# ---- simulated systems of known accuracy


def share_found(cell: Cell, times: int) -> float:
    """Return the share of worlds in which the two systems are called different at 5 %."""
    differences = (paired_difference(world.resampled, world.ours, world.theirs) for world in cell.simulate(times))
    return float(np.mean([difference.p < 0.05 for difference in differences]))


@pytest.mark.parametrize("cell", SIZE_CELLS, ids=str)
def test_equal_systems_are_called_different_in_about_5_percent(cell: Cell) -> None:
    # The standard error of a share of 4 % in 300 worlds is 1.1 points; `test_size_and_power_of_all_cells` is narrower.
    assert 0.01 <= share_found(cell, 300) <= 0.08


@pytest.mark.long
def test_size_and_power_of_all_cells() -> None:
    """`benchmarks/size_and_power.py` measures more cells, and other methods in the same worlds."""
    for cell in SIZE_CELLS:
        is_borrowed = cell.seeds[1] == 1 and not cell.is_deterministic
        assert 0.02 <= share_found(cell, 1000) <= (0.08 if is_borrowed else 0.06), cell
    for cell, wanted in POWER_CELLS:
        assert share_found(cell, 1000) >= wanted, cell


def test_simpler_intervals_are_too_narrow_if_3_seeds_differ_by_3_points() -> None:
    random, ours, percentiles, rows_alone = np.random.default_rng(0), [], [], []
    for world in Cell((3, 3), 0.03, 800).simulate(300):
        resampled, first, second = world.resampled, world.ours, world.theirs
        ours.append(paired_difference(resampled, first, second).p)
        table = np.repeat(resampled.table, 10, axis=0)
        drawn = [
            np.take_along_axis(
                table, random.integers(side.columns[0], side.columns[-1] + 1, (len(table), 3)), axis=1
            ).mean(axis=1)
            for side in (first, second)
        ]
        share = (drawn[0] > drawn[1]).mean()
        percentiles.append(2 * min(share, 1 - share))
        above = resampled.observed[first.columns].mean() - resampled.observed[second.columns].mean()
        means = [resampled.table[:, side.columns].mean(axis=1) for side in (first, second)]
        spread = (means[0] - means[1]).std()
        rows_alone.append(2 * stats.norm.sf(abs(above) / spread))
    assert np.mean(np.array(ours) < 0.05) <= 0.06
    assert np.mean(np.array(percentiles) < 0.05) > 0.08  # bootstrap of rows and 3 of 3 seeds, percentile interval
    assert np.mean(np.array(rows_alone) < 0.05) > 0.3


@pytest.mark.parametrize("seeds", [(5, 5), (5, 1)])
def test_a_gap_of_3_points_on_2000_rows_is_detected_in_at_least_90_percent(seeds: tuple[int, int]) -> None:
    cell = Cell(seeds, 0.005, 2000, gap=0.03, is_deterministic=seeds[1] == 1)
    assert share_found(cell, 100) >= 0.90
