"""Choose the winner of a search, and which of its retrained models is deployed, from validation scores only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import optuna
from optuna.trial import TrialState

from hpo.errors import StudyError, TrainingError
from hpo.evaluation.final_runs import FINE_TUNE, RunKey, find_run
from hpo.store.run_record import RunRecord, retrained_system
from hpo.store.trial_order import best_first, sign
from hpo.study.spec import StudySpec

SELECTION_SEED_OFFSET = 2_000_003  # added to the final seeds for the runs that choose between candidates


@dataclass(frozen=True)
class Candidate:
    """One of the best trials of a search."""

    trial: int
    values: Mapping[str, Any]
    value: float  # the trial's objective

    @property
    def system(self) -> str:
        """The name of its runs in the store."""
        return retrained_system(self.trial)


def select_candidates(search: optuna.Study, count: int) -> list[Candidate]:
    """Return the best complete trials of a search with different values, the best first.

    Raises:
        StudyError: No trial is complete.
    """
    complete = search.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        raise StudyError(f"study {search.study_name!r} has no complete trial to choose; continue it with hpo search")
    candidates: list[Candidate] = []
    for trial in best_first(complete, search.direction.name):
        if len(candidates) == count:
            break
        if all(trial.params != candidate.values for candidate in candidates):
            candidates.append(Candidate(trial.number, trial.params, float(trial.value or 0.0)))
    return candidates


def retraining_runs(spec: StudySpec, values: Mapping[str, Any]) -> list[RunKey]:
    """Return the runs that retrain these values, one per final seed of the study."""
    return [RunKey(FINE_TUNE, seed, spec.final.train_on, values) for seed in spec.final.seed_list]


def selection_runs(spec: StudySpec, values: Mapping[str, Any]) -> list[RunKey]:
    """Return the runs by which one of several candidates is chosen; none if there is a single candidate.

    They have other seeds than the runs that are compared with the baselines: the best of several means is too high.
    """
    if spec.final.top_k == 1:
        return []
    seeds = [(seed + SELECTION_SEED_OFFSET) % 2**32 for seed in spec.final.seed_list]
    return [RunKey(FINE_TUNE, seed, spec.final.train_on, values) for seed in seeds]


def choose_by_validation(validated: Mapping[int, Sequence[float]], direction: str) -> int:
    """Return the key whose validation scores are best on average, the first of equals.

    Every choice between systems and runs is made here, from validation scores only. Test scores are never an input.
    """
    return max(validated, key=lambda key: sign(direction) * mean(validated[key]))


def find_winner(spec: StudySpec, search: optuna.Study, companion: optuna.Study) -> tuple[Candidate, list[RunRecord]]:
    """Return the winning candidate and its complete runs.

    Raises:
        StudyError: Runs of a candidate are missing.
        TrainingError: No run of any candidate is complete.
    """
    winner = choose_candidate(spec, search, companion)
    runs = _complete_runs(spec, companion, winner, retraining_runs(spec, winner.values))
    if not runs:
        raise unreliable_error([winner])
    return winner, runs


def choose_candidate(spec: StudySpec, search: optuna.Study, companion: optuna.Study) -> Candidate:
    """Return the best trial of the search, or the best of several by the mean score of their selection runs."""
    candidates = select_candidates(search, spec.final.top_k)
    if spec.final.top_k == 1:
        return candidates[0]
    runs = {
        candidate.trial: _complete_runs(spec, companion, candidate, selection_runs(spec, candidate.values))
        for candidate in candidates
    }
    # A candidate with failed seeds is left out: the mean over its surviving seeds would be too favorable.
    most = max(map(len, runs.values()))
    validated = {trial: _values(records) for trial, records in runs.items() if len(records) == most > 0}
    if not validated:
        raise unreliable_error(candidates)
    chosen = choose_by_validation(validated, companion.direction.name.lower())
    return next(candidate for candidate in candidates if candidate.trial == chosen)


def unreliable_error(candidates: Sequence[Candidate]) -> TrainingError:
    """Return the error for candidates of which no run is complete."""
    systems = ", ".join(candidate.system for candidate in candidates)
    return TrainingError(f"{systems}: every final run failed, so these values do not train reliably")


def choose_deployed_run(
    spec: StudySpec, runs: Sequence[RunRecord], direction: str, seed: int | None
) -> RunRecord | None:
    """Return the complete run of a candidate whose model is saved, or None if `seed` is not among them."""
    if seed is not None:
        return next((run for run in runs if run.seed == seed), None)
    if spec.final.train_on != "train":  # there is no validation score to choose by
        return runs[0]
    chosen = choose_by_validation({run.number: [run.value] for run in runs if run.value is not None}, direction)
    return next(run for run in runs if run.number == chosen)


def _complete_runs(
    spec: StudySpec, companion: optuna.Study, candidate: Candidate, wanted: Sequence[RunKey]
) -> list[RunRecord]:
    stored = [trial for trial in (find_run(companion, run) for run in wanted) if trial is not None]
    if len(stored) < len(wanted):
        raise StudyError(
            f"{candidate.system}, one of the best trials, has {len(stored)} of {len(wanted)} final runs; "
            f"`{spec.command('retrain')}` makes the others"
        )
    return [record for record in map(RunRecord.from_trial, stored) if record.is_complete]


def _values(runs: Sequence[RunRecord]) -> list[float]:
    return [run.value for run in runs if run.value is not None]
