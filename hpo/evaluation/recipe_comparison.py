"""The winner against the recipe: what is left of the promised gain, and what the recipe gives at equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, variance

import numpy as np
from numpy.typing import NDArray

from hpo.evaluation.comparison_result import EqualCost, LostGain
from hpo.evaluation.scores import compute_metric, normalize_rows
from hpo.evaluation.statistics import Difference, ResampledScores, Side


def measure_lost_gain(
    promised: float,
    recipe_validation: Sequence[float],
    resampled: ResampledScores,
    winner: Side,
    recipe: Side,
    sign: int,
) -> LostGain | None:
    """Return how much of the gain that the search promised over the recipe is lost on test; None with a single run.

    lost = (promised - recipe on validation) - (winner on test - recipe on test)

    The search chose by these validation rows, so they are part of the promise and not resampled. The interval covers
    other test rows, by the bootstrap of the test difference, and other seeds: of the winner on test, and of each recipe
    run's difference between validation and test, in which the quality of a run cancels out.

    Args:
        promised: Best validation score of the search.
        recipe_validation: Validation score of each recipe run.
        resampled: Test scores of all runs.
        winner: The winner's runs in `resampled`.
        recipe: The recipe's runs.
        sign: -1 if lower scores are better.
    """
    ours, theirs = list(winner.columns), list(recipe.columns)
    if min(len(ours), len(theirs)) < 2:
        return None
    test = resampled.observed
    gains = resampled.table[:, ours].mean(axis=1) - resampled.table[:, theirs].mean(axis=1)
    parts = [
        (variance(test[ours].tolist()) / len(ours), len(ours) - 1),
        (variance((np.asarray(recipe_validation) - test[theirs]).tolist()) / len(theirs), len(theirs) - 1),
    ]
    total = sum(part for part, _ in parts)
    df = total**2 / sum(part**2 / freedom for part, freedom in parts) if total else None
    promised_gain = sign * (promised - mean(recipe_validation))
    kept = sign * float(test[ours].mean() - test[theirs].mean())
    lost = promised_gain - kept
    half = Difference(lost, float(gains.std(ddof=1)), float(np.sqrt(total)), df).half_width()
    return LostGain(promised=promised_gain, kept=kept, lost=lost, low=lost - half, high=lost + half)


def score_at_equal_cost(
    objective: str,
    labels: NDArray[np.int64],
    runs: Sequence[NDArray[np.float64]],
    budget_seconds: float,
    fit_seconds: float,
) -> EqualCost | None:
    """Return the score of recipe runs that vote, as many as the budget buys and are stored; None if it buys only one.

    Args:
        objective: A name in METRICS.
        labels: True labels (n,) of the test rows.
        runs: Class probabilities (n, k) of each stored recipe run.
        budget_seconds: Cost of the winner with its search.
        fit_seconds: Cost of one recipe run.
    """
    affordable = int(budget_seconds / fit_seconds) if fit_seconds else 0
    voting = min(affordable, len(runs))
    if voting < 2:
        return None
    probabilities = normalize_rows(np.mean(runs[:voting], axis=0))
    return EqualCost(affordable=affordable, voting=voting, score=compute_metric(objective, labels, probabilities))
