"""Compare the winner of a study with its baselines on the test split, from what the store has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import optuna
import pandas
from numpy.typing import NDArray
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import DataError, StoreError
from hpo.evaluation.comparison_result import (
    ComparisonResult,
    DifferenceResult,
    EqualCost,
    GapPerSplit,
    Generalization,
    LostGain,
    SearchProgressResult,
    SplitUses,
    WinnerResult,
)
from hpo.evaluation.differences import compare_systems, find_sides
from hpo.evaluation.predictions import read_predictions
from hpo.evaluation.recipe_comparison import measure_lost_gain, score_at_equal_cost
from hpo.evaluation.scores import summarize_seeds
from hpo.evaluation.sealed_split import find_reuse, list_uses, record_use
from hpo.evaluation.statistics import ResampledScores, resample_scores
from hpo.evaluation.stored_systems import find_studies, find_trials, read_systems
from hpo.evaluation.system_runs import SystemRuns
from hpo.evaluation.verdict import describe_comparison, describe_difference
from hpo.evaluation.winner import Candidate, choose_deployed_run, find_winner, select_candidates, selection_runs
from hpo.search.budget import count_finished
from hpo.store.attributes import write_attributes
from hpo.store.database import is_read_only_error
from hpo.store.storage import open_artifact_store, open_storage
from hpo.store.study_record import StoredVerdict, StudyRecord, study_attributes
from hpo.store.trial_order import sign
from hpo.store.trial_state import wall_seconds
from hpo.study.spec import StudySpec
from hpo.study.spec_tables import RECIPE
from hpo.training.metrics import METRICS

ComparisonProgress = Callable[[float, str], None]  # receives the finished share of a comparison, and a description


@dataclass
class Comparison:
    """The winner of a study and its baselines with their runs and test predictions.

    `about` computes the `ComparisonResult`. The runs themselves are for what no summary has: misclassified texts, ROC
    curves, calibration.
    """

    spec: StudySpec
    search: optuna.Study
    companion: optuna.Study
    best: Candidate
    systems: list[SystemRuns]  # the winner first
    missing: list[str]  # baselines of the study that were not run yet
    failed: dict[str, str]  # baselines of which every run failed -> reason
    progress: ComparisonProgress
    is_recorded: bool = True  # whether the ledger of the test split has an entry for this use

    @property
    def sign(self) -> int:
        """The factor that makes a gain in the objective positive."""
        return sign(METRICS[self.spec.objective].direction)

    @cached_property
    def costs(self) -> list[float]:
        """Device seconds to obtain each system: one fit, and for the winner the search too.

        Runs with further seeds are the cost of comparing, on either side, and are left out. Runs that chose between
        candidates (`final.top_k` above 1) are part of obtaining the winner, so they count.
        """
        searched = sum(wall_seconds(trial) for trial in self.search.get_trials(deepcopy=False))
        candidates = select_candidates(self.search, self.spec.final.top_k)
        planned = [run for candidate in candidates for run in selection_runs(self.spec, candidate.values)]
        choosing = sum(wall_seconds(trial) for trial in find_trials(self.companion, planned))
        winner, *baselines = self.systems
        return [searched + choosing + winner.fit_seconds, *(system.fit_seconds for system in baselines)]

    @cached_property
    def differences(self) -> list[DifferenceResult]:
        """The winner against each baseline, without sentences."""
        if len(self.systems) == 1:
            return []
        deployed = [self.deployed(system) for system in self.systems]
        return compare_systems(self.systems, deployed, self.resampled, self.spec.objective, self.sign)

    @cached_property
    def resampled(self) -> ResampledScores:
        """The test scores of all runs of all systems, also on resampled rows."""
        runs = [run for system in self.systems for run in system.probabilities(self.class_count)]
        seed = self.spec.search.seed
        return resample_scores(self.spec.objective, self.labels, runs, seed=seed, progress=self.progress)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The true labels of the test rows, as positions in the label names."""
        return np.asarray(self.systems[0].tables[0]["label"])

    @property
    def class_count(self) -> int:
        """The number of classes."""
        return len(self.systems[0].tables[0].filter(like="probability_").columns)

    @property
    def recipe(self) -> SystemRuns | None:
        """The recipe's runs, unless it was not run or the search chose its values."""
        winning = {run.number for run in self.systems[0].runs}
        for system in self.systems[1:]:
            if system.name == RECIPE and {run.number for run in system.runs} != winning:
                return system
        return None

    def deployed(self, system: SystemRuns) -> pandas.DataFrame:
        """Return the test predictions of the run whose model is saved, if no seed is named."""
        if len(system.tables) == 1:  # a file of predictions has no score on validation to choose by
            return system.tables[0]
        run = choose_deployed_run(self.spec, system.runs, self.companion.direction.name.lower(), None)
        return system.tables[system.runs.index(run)] if run else system.tables[0]

    def generalization(self) -> Generalization:
        """Compare the best score of the search with the scores of retraining on validation and test."""
        winner, objective = self.systems[0], self.spec.objective
        promised = select_candidates(self.search, 1)[0].value  # the best, whichever of the k candidates won
        validation = None
        if self.spec.final.train_on == "train":
            validation = summarize_seeds([run.value for run in winner.runs if run.value is not None])
        test = summarize_seeds([scores.metrics[objective] for scores in winner.scores("test")])
        return Generalization(
            search=promised,
            chosen_among=self.spec.final.top_k,
            validation=validation,
            test=test,
            gap=GapPerSplit(
                validation=None if validation is None else self.sign * (promised - validation.mean),
                test=self.sign * (promised - test.mean),
            ),
            lost_gain=self._measure_lost_gain(promised),
        )

    def _measure_lost_gain(self, promised: float) -> LostGain | None:
        recipe = self.recipe
        if recipe is None or self.spec.final.train_on != "train":
            return None
        sides = find_sides(self.systems)
        validation = [run.value for run in recipe.runs if run.value is not None]
        side = sides[self.systems.index(recipe)]
        return measure_lost_gain(promised, validation, self.resampled, sides[0], side, self.sign)

    def _score_recipe_at_equal_cost(self) -> EqualCost | None:
        if (recipe := self.recipe) is None:
            return None
        runs, budget = recipe.probabilities(self.class_count), self.costs[0]
        return score_at_equal_cost(self.spec.objective, self.labels, runs, budget, recipe.fit_seconds)

    def to_result(self) -> ComparisonResult:
        """Return the whole comparison, sentences included."""
        data = StudyRecord.from_attributes(self.companion.user_attrs).data
        spec_when_stored = StudyRecord.from_attributes(self.search.user_attrs).spec
        assert data is not None and spec_when_stored is not None
        result = ComparisonResult(
            study=self.spec.name,
            objective=self.spec.objective,
            direction=METRICS[self.spec.objective].direction,
            labels=list(data.labels),
            rows=dict(data.rows),
            trained_on=self.spec.final.train_on,
            winner=WinnerResult(trial=self.best.trial, values=dict(self.best.values)),
            search=SearchProgressResult(
                finished=count_finished(self.search.get_trials(deepcopy=False)),
                wanted=spec_when_stored["search"]["trials"],
            ),
            systems=[
                system.summarize(cost, self.spec.objective)
                for system, cost in zip(self.systems, self.costs, strict=True)
            ],
            differences=self.differences,
            margin=self.spec.final.margin,
            missing=self.missing,
            failed=self.failed,
            baseline_command=self.spec.command("baseline"),
            generalization=self.generalization(),
            recipe_at_equal_cost=self._score_recipe_at_equal_cost(),
            test_uses=_summarize_uses(self.companion, self.is_recorded),
        )
        described = [
            difference.model_copy(update={"verdict": describe_difference(difference, result)})
            for difference in result.differences
        ]
        result = result.model_copy(update={"differences": described})
        return result.model_copy(update={"verdict": describe_comparison(result)})

    def store_verdict(self, result: ComparisonResult) -> None:
        """Keep the verdict in the store, where `hpo show` finds it, unless the store can only be read."""
        if self.is_recorded:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            write_attributes(self.companion, study_attributes(verdict=StoredVerdict(result.verdict, now)))


def no_progress(share: float, description: str) -> None:
    """Ignore the progress of a comparison."""


def compare_study(spec: StudySpec, url: str, progress: ComparisonProgress = no_progress) -> ComparisonResult:
    """Compare a study's winner with its baselines; see `build_comparison`."""
    comparison = build_comparison(spec, url, progress)
    result = comparison.to_result()
    comparison.store_verdict(result)
    return result


def build_comparison(
    spec: StudySpec,
    url: str,
    progress: ComparisonProgress = no_progress,
    use: str = "compare",
    storage: BaseStorage | None = None,
) -> Comparison:
    """Read the runs of a study's winner and baselines, and record this use of the test split in the ledger.

    Args:
        spec: The study.
        url: URL of the store.
        progress: Receives the finished share and a description, once the comparison is computed.
        use: What the test split is used for, as the ledger records it.
        storage: The store at `url`, if it is open already.

    Raises:
        StudyError: The winner's runs are missing, there is no test split, or predictions are missing.
        DataError: The objective is undefined on the test split.
        StoreError: The use cannot be recorded, although the store can be written.
    """
    storage = storage or open_storage(url, create=False)
    search, companion = find_studies(spec, storage)
    best, _ = find_winner(spec, search, companion)
    files = open_artifact_store(url, spec)
    stored = read_systems(spec, companion, best, lambda trial: read_predictions(trial, storage, files))
    if any(spec.objective not in scores.metrics for scores in stored.systems[0].scores("test")):
        raise DataError(f"{spec.objective} is undefined on the test split: too few labels; set another data.test")
    is_recorded = record_comparison(spec, companion, f"{use}: {len(stored.systems)} systems")
    return Comparison(
        spec, search, companion, best, stored.systems, stored.missing, stored.failed, progress, is_recorded
    )


def record_comparison(spec: StudySpec, companion: optuna.Study, use: str) -> bool:
    """Record a use of the test split; return False if the store cannot be written.

    Raises:
        StoreError: The use cannot be recorded, although the store can be written.
    """
    try:
        record_use(companion, spec, use, list_uses(companion)[0].test)
    except (StorageInternalError, SQLAlchemyError) as error:
        if not is_read_only_error(error):
            raise StoreError(f"this use of the test split cannot be recorded in the store: {error}") from None
        return False
    return True


def _summarize_uses(companion: optuna.Study, is_recorded: bool) -> SplitUses:
    """Count the uses of the test split, by other studies of the store too."""
    entries = list_uses(companion)
    reuse = find_reuse(companion, entries[-1].test)
    return SplitUses(
        count=len(entries),
        first=entries[0].when,
        studies=sorted({use.spec_hash for use in entries}),
        elsewhere=reuse.uses,
        shares=reuse.shares,
        share=reuse.share,
        entries=entries,
        recorded=is_recorded,
    )
