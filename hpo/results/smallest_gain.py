"""The smallest gain that a comparison can find with its test rows and seeds, known before anything is trained."""

from __future__ import annotations

from functools import cache
from math import sqrt

import numpy as np

from hpo.evaluation.statistics import ALPHA, Difference
from hpo.evaluation.verdict import difference_unit, format_amount
from hpo.results.formatting import format_duration
from hpo.study.spec import StudySpec

POWER = 0.8  # probability with which the gain is found
# Assumptions about two fine-tuned models of similar quality. Small training sets have a larger spread between seeds.
SEED_SD = 0.01
DISAGREEMENT = 0.1  # share of the test rows that only one of the two has right
DRAWS = 200  # simulated comparisons; their error is about 0.5 points with 2 seeds, and 0.1 with 5
ENOUGH_SEEDS = 5  # more seeds make an interval little narrower


@cache
def smallest_gain(test_rows: int, seeds: int, seed_sd: float = SEED_SD, disagreement: float = DISAGREEMENT) -> float:
    """Return the gain in accuracy over another fine-tuned system that is found with probability POWER.

    Both sides have `seeds` runs. Their noise is drawn many times. Each draw needs a gain that lifts its difference
    above its own half width of the confidence interval, which depends on the spread that the few seeds happen to have.

    Args:
        test_rows: Number of test rows.
        seeds: Runs of each side, at least 2.
        seed_sd: Standard deviation of a run's accuracy between seeds.
        disagreement: Share of the test rows that only one of two runs has right.
    """
    random, rows = np.random.default_rng(0), sqrt(disagreement / test_rows)
    runs = seed_sd * random.standard_normal((DRAWS, 2, seeds))
    noise = rows * random.standard_normal(DRAWS) + runs[:, 0].mean(axis=1) - runs[:, 1].mean(axis=1)
    variances = runs.var(axis=2, ddof=1) / seeds
    freedom = variances.sum(axis=1) ** 2 / (variances**2 / (seeds - 1)).sum(axis=1)
    needed = [
        Difference(0.0, rows, sqrt(sum(variance)), float(df)).half_width(ALPHA) - luck
        for variance, df, luck in zip(variances.tolist(), freedom, noise, strict=True)
    ]
    return float(np.quantile(needed, POWER))


def describe_smallest_gain(spec: StudySpec, test_rows: int | None, run_seconds: float | None = None) -> str | None:
    """Describe the smallest gain over the recipe that the final runs can find; None if it cannot be foretold.

    Args:
        spec: The study, whose objective must be a share.
        test_rows: Number of test rows; None without a test split.
        run_seconds: Duration of a run, if it is known.
    """
    if not test_rows or not difference_unit(spec.objective):
        return None
    planned = len(spec.final.seed_list)
    if planned == 1:
        sentence = "with final.seeds = 1 no gain can be told from the luck of a seed"
    else:
        sentence = f"the final runs find gains from about {_describe_gain(spec, test_rows, planned)}"
    if planned < ENOUGH_SEEDS:
        extra = ""
        if run_seconds:
            added = 2 * (ENOUGH_SEEDS - planned) * run_seconds  # of the winner and of the recipe
            extra = f", which take {format_duration(added)} more"
        sentence += f"; final.seeds = {ENOUGH_SEEDS}{extra}: {_describe_gain(spec, test_rows, ENOUGH_SEEDS)}"
    assumed = f"seeds that differ by {format_amount(SEED_SD, spec.objective)}"
    return f"{sentence} (in {POWER:.0%} of studies, assuming {assumed})".replace("%", " %")


def _describe_gain(spec: StudySpec, test_rows: int, seeds: int) -> str:
    gain = format_amount(smallest_gain(test_rows, seeds), spec.objective)
    return f"{gain} with {seeds} seeds and {test_rows:,} test rows"
