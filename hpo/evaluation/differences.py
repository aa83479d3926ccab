"""The winner against each baseline: paired difference, confidence interval, corrected p-value and outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas

from hpo.evaluation.comparison_result import DifferenceResult, McNemarResult
from hpo.evaluation.statistics import (
    ALPHA,
    Difference,
    ResampledScores,
    holm_correction,
    mcnemar_test,
    paired_difference,
)
from hpo.evaluation.system_runs import SystemRuns

NO_DIFFERENCE = Difference(difference=0.0, low=0.0, high=0.0, p=1.0, standard_error=0.0, df=None)


def compare_systems(
    systems: Sequence[SystemRuns], resampled: ResampledScores, deployed: pandas.DataFrame, objective: str, sign: int
) -> list[DifferenceResult]:
    """Compare the winner with each baseline.

    Args:
        systems: The winner first.
        resampled: Scores of all runs of all systems, in this order; see `resample_scores`.
        deployed: Test predictions of the winner's deployed run, for McNemar's test.
        objective: The metric.
        sign: -1 if lower scores are better, so that positive differences are gains.
    """
    winner, *baselines = systems
    winner_columns, *baseline_columns = _columns_by_system(systems)
    labels, predicted = deployed["label"].to_numpy(), deployed["predicted"].to_numpy()
    uncorrected = []
    for baseline, columns in zip(baselines, baseline_columns, strict=True):
        difference = paired_difference(resampled, winner_columns, columns, sign)
        mcnemar = mcnemar_test(labels, predicted, baseline.tables[0]["predicted"].to_numpy())
        uncorrected.append(_test_difference(winner, baseline, difference, mcnemar, objective))
    return _correct_p_values(uncorrected)


def _columns_by_system(systems: Sequence[SystemRuns]) -> list[range]:
    """Return the columns of each system's runs in the resampled scores."""
    ends = np.cumsum([0, *(len(system.runs) for system in systems)])
    return [range(start, end) for start, end in zip(ends, ends[1:], strict=False)]


def _test_difference(
    winner: SystemRuns, baseline: SystemRuns, difference: Difference, mcnemar: McNemarResult, objective: str
) -> DifferenceResult:
    """Return the result for one baseline, its p-value and outcome not yet corrected for the others."""
    same_runs = {run.number for run in winner.runs} == {run.number for run in baseline.runs}
    # Two single runs show nothing about seeds, and for accuracy there is an exact test over rows.
    is_exact = len(winner.runs) == len(baseline.runs) == 1 and objective == "accuracy"
    numbers = asdict(NO_DIFFERENCE if same_runs else difference)
    if is_exact and not same_runs:
        numbers["p"] = mcnemar.p
    return DifferenceResult(
        against=baseline.name,
        same_runs=same_runs,
        **numbers,
        p_holm=numbers["p"],
        test="exact McNemar" if is_exact else "paired bootstrap over rows and seeds",
        includes_seeds=len(winner.runs) > 1,
        mcnemar=mcnemar,
        outcome="none",
    )


def _correct_p_values(results: Sequence[DifferenceResult]) -> list[DifferenceResult]:
    """Apply Holm's correction and decide the outcomes. Pairs of the same runs test nothing, so they do not count."""
    corrected = iter(holm_correction([result.p for result in results if not result.same_runs]))
    p_values = [1.0 if result.same_runs else next(corrected) for result in results]
    return [
        result.model_copy(update={"p_holm": p, "outcome": _decide(result.difference, p)})
        for result, p in zip(results, p_values, strict=True)
    ]


def _decide(difference: float, p_holm: float) -> str:
    if p_holm >= ALPHA:
        return "none"
    return "better" if difference > 0 else "worse"
