"""Ways to decide whether one system is better than another: hpo's, its earlier version, and rejected alternatives."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray
from scipy import stats

from hpo.evaluation.differences import compare_systems
from hpo.evaluation.statistics import ALPHA, Difference, ResampledScores, mcnemar_test, paired_difference
from hpo.evaluation.system_runs import SystemRuns
from hpo.store.run_record import RunRecord
from tests.support.simulated_systems import World

Array = NDArray[Any]
# 1: ours is better, -1: theirs is, 0: no difference was found; None: the method does not apply, or says "untested".
Decision = int | None
Generator = np.random.Generator
RESAMPLES = 1000
MEANINGFUL = 0.75  # of P(A > B), which Bouthillier et al. recommend
GRID = np.arange(0.005, 1, 0.005)  # quantiles that almost stochastic order compares


def compare_as_hpo(world: World, random: Generator) -> Decision:
    """Return the outcome of `hpo compare` with this one baseline."""
    labels = np.zeros(len(world.correct), dtype=int)
    tables = [pandas.DataFrame({"label": labels, "predicted": run.argmax(axis=1)}) for run in world.runs]
    runs = [RunRecord(number, "complete", None, {}, "", number) for number in range(len(tables))]
    systems = [
        SystemRuns(name, [runs[run] for run in side.columns], [], [tables[run] for run in side.columns])
        for name, side in (("winner", world.ours), ("theirs", world.theirs))
    ]
    systems[1].is_deterministic = world.theirs.is_deterministic
    deployed = [system.tables[0] for system in systems]
    (result,) = compare_systems(systems, deployed, world.resampled, "accuracy", 1)
    return {"better": 1, "worse": -1, "none": 0, "untested": None}[result.outcome]


def measure_as_hpo_0_1(world: World) -> Difference:
    """Return the difference as hpo 0.1.0 measured it.

    The rows on which the runs of one system disagree by chance were counted twice, and a single run was taken for all
    that there is to see of a system.
    """
    table = world.resampled.table.copy()
    for side in (world.ours, world.theirs):  # runs that agree on all resamples leave nothing to subtract
        table[:, side.columns] = table[:, side.columns].mean(axis=1, keepdims=True)
    ours, theirs = (replace(side, is_deterministic=len(side.columns) == 1) for side in (world.ours, world.theirs))
    return paired_difference(ResampledScores(world.resampled.observed, table), ours, theirs)


def compare_as_hpo_0_1(world: World, random: Generator) -> Decision:
    """Decide as hpo 0.1.0 did."""
    difference = measure_as_hpo_0_1(world)
    return _decide(difference.p, difference.difference)


def bootstrap_rows(world: World, random: Generator) -> Decision:
    """Bootstrap the rows (Koehn 2004) of the difference of means over seeds, as if no other seeds were possible."""
    difference = paired_difference(world.resampled, world.ours, world.theirs)
    return _decide(replace(difference, seeds=0.0, df=None).p, difference.difference)


def permute_systems_within_rows(world: World, random: Generator) -> Decision:
    """Swap the systems' results on random rows: approximate randomization (Noreen 1989, Yeh 2000)."""
    ours, theirs = (world.correct[:, side.columns].mean(axis=1) for side in (world.ours, world.theirs))
    differences = (ours - theirs)[ours != theirs]
    signs = 1 - 2 * random.integers(0, 2, (RESAMPLES, len(differences)), dtype=np.int8)
    extreme = np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9
    return _decide((1 + extreme.sum()) / (1 + RESAMPLES), differences.sum())


def mcnemar_of_first_runs(world: World, random: Generator) -> Decision:
    """Test the first run of each system with McNemar's exact test (Dietterich 1998)."""
    ours, theirs = (world.runs[side.columns[0]].argmax(axis=1) for side in (world.ours, world.theirs))
    result = mcnemar_test(np.zeros(len(ours), dtype=int), ours, theirs)
    return _decide(result.p, result.only_ours - result.only_theirs)


def t_test_of_seeds(world: World, random: Generator) -> Decision:
    """Test the scores of the seeds with Welch's t-test, or against a single score with Student's."""
    ours, theirs = _scores(world)
    if len(ours) == 1:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of scores that are all equal
        test = stats.ttest_ind(ours, theirs, equal_var=False) if theirs[1:].size else stats.ttest_1samp(ours, theirs[0])
    return _decide(float(np.nan_to_num(test.pvalue, nan=1.0)), ours.mean() - theirs.mean())


def mann_whitney_of_seeds(world: World, random: Generator) -> Decision:
    """Test the scores of the seeds with the test of Mann and Whitney (1947)."""
    ours, theirs = _scores(world)
    test = stats.mannwhitneyu(ours, theirs)
    return _decide(test.pvalue, test.statistic - len(ours) * len(theirs) / 2)


def estimate_win_rate(world: World, random: Generator) -> Decision:
    """Decide by P(A > B) over pairs of seeds and its bootstrap interval (Bouthillier et al. 2021).

    A is better if the interval lies above 0.5 and reaches above 0.75.
    """
    ours, theirs = _scores(world)
    if len(ours) == 1:
        return None
    wins = (1 + np.sign(ours - theirs)) / 2  # a single run of theirs is in every pair
    shares = wins[random.integers(0, len(wins), (RESAMPLES, len(wins)))].mean(axis=1)
    low, high = np.quantile(shares, [ALPHA / 2, 1 - ALPHA / 2])
    if low > 0.5 and high > MEANINGFUL:
        return 1
    return -1 if high < 0.5 and low < 1 - MEANINGFUL else 0


def order_almost_stochastically(world: World, random: Generator, threshold: float) -> Decision:
    """Decide by almost stochastic order of the seeds' scores (del Barrio et al. 2018, Dror et al. 2019).

    A is better if the upper 95 % bound of the share by which stochastic order is violated is below the threshold. As
    in the library deepsig, with its numbers of bootstrap samples and quantiles.
    """
    ours, theirs = _scores(world)
    if len(ours) == 1:
        return None
    samples = [side[random.integers(0, len(side), (RESAMPLES, len(side)))] for side in (ours, theirs)]
    violation = float(_violation_ratio(ours[None], theirs[None])[0])
    error = np.std(_violation_ratio(*samples)) * stats.norm.isf(ALPHA)
    if violation + error < threshold:
        return 1
    return -1 if 1 - violation + error < threshold else 0


def _violation_ratio(ours: Array, theirs: Array) -> Array:
    """Return the share of the squared Wasserstein distance (draws,) in which theirs is above ours, from (draws, R)."""
    ours, theirs = (
        np.sort(side, axis=1)[:, np.ceil(side.shape[1] * GRID - 1e-9).astype(int) - 1] for side in (ours, theirs)
    )
    squares = (theirs - ours) ** 2
    total, violated = squares.sum(axis=1), np.where(theirs > ours, squares, 0.0).sum(axis=1)
    return np.divide(violated, total, out=np.full(len(total), 0.5), where=total > 0)


def _scores(world: World) -> tuple[Array, Array]:
    """Return the scores of the seeds of both systems."""
    observed = world.resampled.observed
    return observed[list(world.ours.columns)], observed[list(world.theirs.columns)]


def _decide(p: float, difference: float) -> Decision:
    return int(np.sign(difference)) if p < ALPHA else 0


METHODS: dict[str, Callable[[World, Generator], Decision]] = {
    "hpo": compare_as_hpo,
    "hpo 0.1.0": compare_as_hpo_0_1,
    "bootstrap of rows": bootstrap_rows,
    "permutation within rows": permute_systems_within_rows,
    "McNemar, first runs": mcnemar_of_first_runs,
    "t-test of seeds": t_test_of_seeds,
    "Mann-Whitney of seeds": mann_whitney_of_seeds,
    "P(A > B)": estimate_win_rate,
    "ASO, 0.5": lambda world, random: order_almost_stochastically(world, random, 0.5),
    "ASO, 0.2": lambda world, random: order_almost_stochastically(world, random, 0.2),
}
