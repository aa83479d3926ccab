"""The winner against each baseline: paired difference, confidence interval, corrected p-value and outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas
from numpy.typing import NDArray

from hpo.evaluation.comparison_result import DifferenceResult, McNemarResult, Outcome
from hpo.evaluation.statistics import (
    ALPHA,
    ROUNDING,
    Difference,
    ResampledScores,
    Side,
    holm_factors,
    mcnemar_test,
    paired_difference,
    sign_flip_p,
)
from hpo.evaluation.system_runs import SystemRuns
from hpo.study.spec_tables import RERUN

FEW_ROWS = 10  # with fewer rows on which two systems differ, the bootstrap's normal is no approximation
NO_DIFFERENCE = Difference(difference=0.0, rows=0.0)


def compare_systems(
    systems: Sequence[SystemRuns],
    deployed: Sequence[pandas.DataFrame],
    resampled: ResampledScores,
    objective: str,
    sign: int,
) -> list[DifferenceResult]:
    """Compare the winner with each baseline.

    Args:
        systems: The winner first.
        deployed: Test predictions of each system's deployed run, for McNemar's test.
        resampled: Scores of all runs of all systems, in this order; see `resample_scores`.
        objective: The metric.
        sign: -1 if lower scores are better, so that positive differences are gains.
    """
    winner, *baselines = systems
    winner_side, *sides = find_sides(systems)
    labels = deployed[0]["label"].to_numpy()
    predicted, *others = (table["predicted"].to_numpy() for table in deployed)
    tests = []
    for baseline, side, other in zip(baselines, sides, others, strict=True):
        same_runs = {run.number for run in winner.runs} == {run.number for run in baseline.runs}
        difference = NO_DIFFERENCE if same_runs else paired_difference(resampled, winner_side, side, sign)
        exact_p = _exact_p(winner, baseline) if objective == "accuracy" and not same_runs else None
        won = None if same_runs else _share_won(sign * resampled.observed, winner_side, side)
        covers_seeds = not (winner_side.is_deterministic and side.is_deterministic)
        mcnemar = mcnemar_test(labels, predicted, other)
        tests.append(_Test(baseline.name, same_runs, difference, exact_p, won, mcnemar, covers_seeds))
    # Pairs of the same runs test nothing, and the A/A check is no competitor: neither is in the family.
    family = [test for test in tests if test.is_in_family]
    factors = dict(zip((test.against for test in family), holm_factors([test.p for test in family]), strict=True))
    return [test.to_result(factors.get(test.against, 1.0)) for test in tests]


@dataclass(frozen=True)
class _Test:
    """The winner against one baseline, before the correction for the number of baselines."""

    against: str
    same_runs: bool
    difference: Difference
    exact_p: float | None  # set if the systems differ on few rows
    runs_won: float | None
    mcnemar: McNemarResult
    covers_seeds: bool  # False if neither system would be another with other seeds

    @property
    def p(self) -> float:
        """The uncorrected p-value."""
        return self.difference.p if self.exact_p is None else max(self.exact_p, self.difference.p)

    @property
    def is_in_family(self) -> bool:
        """Whether the outcome can be "better" or "worse", so that the p-values must be corrected for it."""
        return not self.same_runs and self.against != RERUN and self.difference.seed_noise != "unknown"

    def to_result(self, factor: float) -> DifferenceResult:
        """Return the result at the level that Holm's correction leaves to this test: ALPHA / factor."""
        difference, p_holm = self.difference, min(1.0, self.p * factor)
        half = difference.half_width(ALPHA / factor)
        if self.exact_p is not None and p_holm >= ALPHA:
            half = max(half, abs(difference.difference))  # the interval agrees with the test
        test = "paired bootstrap over rows"
        if difference.seed_noise != "unknown" and self.covers_seeds:
            test += " and seeds"
        return DifferenceResult(
            against=self.against,
            same_runs=self.same_runs,
            difference=difference.difference,
            low=difference.difference - half,
            high=difference.difference + half,
            confidence=1 - ALPHA / factor,
            standard_error=difference.standard_error,
            df=difference.df,
            p=self.p,
            p_holm=p_holm,
            test=test if self.exact_p is None else f"{test}, and exact sign flips of the rows that differ",
            seed_noise=difference.seed_noise,
            runs_won=self.runs_won,
            mcnemar=self.mcnemar,
            outcome=self._decide(p_holm),
        )

    def _decide(self, p_holm: float) -> Outcome:
        if self.difference.seed_noise == "unknown":
            return "untested"
        if p_holm >= ALPHA:
            return "none"
        return "better" if self.difference.difference > 0 else "worse"


def find_sides(systems: Sequence[SystemRuns]) -> list[Side]:
    """Return the columns of each system's runs in the resampled scores."""
    ends = np.cumsum([0, *(len(system.runs) for system in systems)])
    columns = [range(start, end) for start, end in zip(ends, ends[1:], strict=False)]
    return [Side(side, system.is_deterministic) for side, system in zip(columns, systems, strict=True)]


def _share_won(scores: NDArray[np.float64], ours: Side, theirs: Side) -> float:
    """Return the share of pairs of runs in which our score is higher; ties count half."""
    gains = scores[list(ours.columns)][:, None] - scores[list(theirs.columns)]
    return float(((gains > ROUNDING) + 0.5 * (np.abs(gains) <= ROUNDING)).mean())


def _exact_p(winner: SystemRuns, baseline: SystemRuns) -> float | None:
    """Return the exact p-value of the difference in accuracy if it comes from few rows, else None."""
    ours, theirs = (_mean_correct(system) for system in (winner, baseline))
    differences = ours - theirs
    return sign_flip_p(differences) if np.count_nonzero(differences) < FEW_ROWS else None


def _mean_correct(system: SystemRuns) -> NDArray[np.float64]:
    """Return the share of a system's runs that have each row right (n,)."""
    correct = [(table["label"] == table["predicted"]).to_numpy() for table in system.tables]
    return np.asarray(np.mean(correct, axis=0), dtype=np.float64)
