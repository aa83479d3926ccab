"""The runs of one system, with their test predictions and their scores over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray
from scipy.stats import beta

from hpo.evaluation.comparison_result import RunFailures, SeedSummary, SystemResult
from hpo.evaluation.scores import summarize_seeds
from hpo.store.run_record import RunRecord, SplitScores


@dataclass
class SystemRuns:
    """The winner or a baseline: its complete runs with a table of test predictions each."""

    name: str
    runs: list[RunRecord]
    failed: list[str]  # the reasons why its other runs are not complete
    tables: list[pandas.DataFrame]  # see SealedTestSplit.reveal
    is_deterministic: bool = False  # whether runs with other seeds would be the same

    def probabilities(self, classes: int) -> list[NDArray[Any]]:
        """Return class probabilities (n, k) of the test rows, one array per run.

        Where only labels are known, 1 for the label and 0 for others. These are for metrics of labels alone.
        """
        tables = [table.filter(like="probability_").to_numpy() for table in self.tables]
        labels = [table["predicted"].to_numpy() for table in self.tables]
        return [
            table if table.shape[1] else np.eye(classes)[predicted]
            for table, predicted in zip(tables, labels, strict=True)
        ]

    @property
    def fit_seconds(self) -> float:
        """Device seconds of one fit, the mean over the runs."""
        return float(mean(run.seconds.fit or 0.0 for run in self.runs))

    def scores(self, split: str) -> list[SplitScores]:
        """Return the scores of the runs on `validation` or `test`, for the runs that have them."""
        return [scores for run in self.runs if (scores := run.scores_on(split)) is not None]

    def summarize_failures(self, objective: str) -> RunFailures | None:
        """Return how many runs failed or collapsed to one class; None if other seeds would give the same run."""
        if self.is_deterministic:
            return None
        collapsed = [table["predicted"].nunique() == 1 for table in self.tables]
        useful = [
            scores.metrics[objective]
            for scores, is_collapsed in zip(self.scores("test"), collapsed, strict=True)
            if not is_collapsed
        ]
        runs, failures = len(self.runs) + len(self.failed), sum(collapsed) + len(self.failed)
        return RunFailures(
            runs=runs,
            failed=len(self.failed),
            collapsed=[run.seed for run, is_collapsed in zip(self.runs, collapsed, strict=True) if is_collapsed],
            rate_below=float(beta.ppf(0.95, failures + 1, runs - failures)) if failures < runs else 1.0,
            mean_without=mean(useful) if useful else None,
        )

    def summarize(self, cost_seconds: float, objective: str) -> SystemResult:
        """Return scores, spread over seeds and cost of the system."""
        test, first = self.scores("test"), self.runs[0]
        validation = self.scores("validation") if first.trained_on == "train" else []  # else it was trained on
        speeds = [run.predicted_per_second for run in self.runs if run.predicted_per_second is not None]
        return SystemResult(
            system=self.name,
            description=first.description,
            source=first.source,
            values=first.key["values"],
            runs=[run.number for run in self.runs],
            seeds=[run.seed for run in self.runs],
            failed=self.failed,
            failures=self.summarize_failures(objective),
            validation=_summarize_scores([scores.metrics for scores in validation]) if validation else None,
            test=_summarize_scores([scores.metrics for scores in test]),
            per_class={
                label: _summarize_scores([scores.per_class[label] for scores in test]) for label in test[0].per_class
            },
            confusion=np.mean([scores.confusion for scores in test], axis=0).tolist(),
            cost_seconds=cost_seconds,
            texts_per_second=mean(speeds) if speeds else None,
        )


def _summarize_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, SeedSummary]:
    """Return the mean and spread of each score that all runs have."""
    shared = [name for name in scores[0] if all(name in run_scores for run_scores in scores)]
    return {name: summarize_seeds([float(run_scores[name]) for run_scores in scores]) for name in shared}
