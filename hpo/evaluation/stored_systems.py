"""Find the runs of the winner and of each baseline in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna
import pandas
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from hpo.errors import StudyError
from hpo.evaluation.baselines import BASELINES, ENTRY_POINT_GROUP, Values, baseline_names, find_baseline
from hpo.evaluation.final_runs import LASTING_OUTCOMES, RunKey, find_run
from hpo.evaluation.system_identity import find_source
from hpo.evaluation.system_runs import SystemRuns
from hpo.evaluation.winner import Candidate, retraining_runs
from hpo.plugins import load_entry_points
from hpo.store.run_record import RunRecord
from hpo.store.storage import check_same_spec, find_study
from hpo.store.study_record import StudyRecord, companion_name
from hpo.study.spec import StudySpec
from hpo.study.spec_tables import WINNER

PredictionReader = Callable[[FrozenTrial], pandas.DataFrame | None]


@dataclass(frozen=True)
class StoredSystems:
    """The systems of a study that can be compared, and the baselines that cannot."""

    systems: list[SystemRuns]  # the winner first
    missing: list[str]  # baselines of the study that were not run yet
    failed: dict[str, str]  # baselines of which every run failed -> reason


def find_studies(spec: StudySpec, storage: BaseStorage) -> tuple[optuna.Study, optuna.Study]:
    """Return the search and its companion study of final runs.

    Raises:
        StudyError: One of them is missing, or there is no test split.
    """
    search = find_study(storage, spec.name)
    companion = find_study(storage, companion_name(spec.name))
    for study, verb in ((search, "search"), (companion, "retrain")):
        if study is None:
            raise StudyError(f"study {spec.name!r} has nothing to compare yet; run `{spec.command(verb)}` first")
        check_same_spec(study, spec)
    assert search and companion
    data = StudyRecord.from_attributes(companion.user_attrs).data
    if data is None or "test" not in data.rows:
        raise StudyError(
            f"{spec.file}: a comparison needs a test split, because the winner was chosen on validation; "
            "set data.test (files, a share, a number of rows), and start another study with "
            f"`{spec.command('search', '--force-new', 'NAME')}`"
        )
    return search, companion


def read_systems(
    spec: StudySpec, companion: optuna.Study, winner: Candidate, read_table: PredictionReader
) -> StoredSystems:
    """Read the runs and test predictions of the winner and of all baselines that were run."""
    winner_trials = find_trials(companion, retraining_runs(spec, winner.values))
    systems = [_read_system(WINNER, winner_trials, read_table, is_deterministic=False)]
    missing: list[str] = []
    failed: dict[str, str] = {}
    wanted = baseline_names(spec)
    for name in dict.fromkeys([*wanted, *_stored_baselines(companion)]):  # also those run without being in the file
        trials = find_baseline_trials(name, spec, companion, winner.values)
        if name not in wanted and trials == winner_trials:
            continue  # the search chose the values of a baseline that is not in the file, so this is the winner itself
        if not trials:
            missing += [name] if name in wanted else []
            continue
        system = _read_system(name, trials, read_table, not find_baseline(name, spec).is_stochastic)
        if system.runs:
            systems.append(system)
        else:
            failed[name] = system.failed[0]
    return StoredSystems(systems, missing, failed)


def read_winner(
    spec: StudySpec, companion: optuna.Study, winner: Candidate, read_table: PredictionReader
) -> SystemRuns:
    """Read the runs and test predictions of the winner alone."""
    trials = find_trials(companion, retraining_runs(spec, winner.values))
    return _read_system(WINNER, trials, read_table, is_deterministic=False)


def find_trials(companion: optuna.Study, runs: Sequence[RunKey]) -> list[FrozenTrial]:
    """Return the stored trials of those runs that were made."""
    return [trial for trial in (find_run(companion, run) for run in runs) if trial is not None]


def _stored_baselines(companion: optuna.Study) -> list[str]:
    """Return all built-in baselines, and the baselines of installed packages that have runs in the store.

    Of these only the ones with runs, because reading their plan imports the package.
    """
    systems = {RunRecord.from_trial(trial).system for trial in companion.get_trials(deepcopy=False)}
    return [*BASELINES, *(name for name in load_entry_points(ENTRY_POINT_GROUP) if name in systems)]


def find_baseline_trials(name: str, spec: StudySpec, companion: optuna.Study, winner: Values) -> list[FrozenTrial]:
    """Return the trials of a baseline's runs; none if it is fine-tuned and not all of them were made.

    Of the other baselines, earlier versions made a single run.
    """
    baseline = find_baseline(name, spec)
    if baseline.existing is not None:
        return _find_existing_trials(name, companion, find_source(baseline.existing, spec))
    if baseline.needs_starting_point and not spec.space.known_good:
        return []
    planned = baseline.plan_runs(name, spec, winner)
    trials = find_trials(companion, planned)
    return trials if len(trials) == len(planned) or not baseline.fine_tunes else []


def _find_existing_trials(name: str, companion: optuna.Study, source: str | None) -> list[FrozenTrial]:
    """Return the last run of what a system is now. If it is not here any more, return what was run of it last."""
    trials = [
        trial
        for trial in companion.get_trials(deepcopy=False)
        if (run := RunRecord.from_trial(trial)).source and run.key["kind"] == name and run.outcome in LASTING_OUTCOMES
    ]
    return [trial for trial in trials if source in (None, RunRecord.from_trial(trial).source)][-1:]


def _read_system(
    name: str, trials: Sequence[FrozenTrial], read_table: PredictionReader, is_deterministic: bool
) -> SystemRuns:
    system = SystemRuns(name, [], [], [], is_deterministic)
    for trial in trials:
        run = RunRecord.from_trial(trial)
        if not run.is_complete:
            system.failed.append(str(run.reason))
            continue
        table = read_table(trial)
        assert table is not None, f"run {run.number} has no predictions"
        system.runs.append(run)
        system.tables.append(table)
    return system
