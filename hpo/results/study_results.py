"""`StudyResults`: what is stored about one study, as the report, the plots, the dashboard and the exports read it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import optuna
import pandas
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from hpo.data.splits import TextData
from hpo.errors import HpoError
from hpo.evaluation.comparison import Comparison, ComparisonProgress, build_comparison, no_progress
from hpo.evaluation.comparison_result import ComparisonResult
from hpo.paths import expand_path
from hpo.results.study_status import StudyStatus, study_status
from hpo.results.trials_table import build_trials_table
from hpo.search.preflight import load_study_data
from hpo.store.optuna_internals import storage_of
from hpo.store.run_record import RunRecord
from hpo.store.storage import (
    artifact_folder,
    check_same_spec,
    find_study,
    load_stored_study,
    open_artifact_store,
    sqlite_file,
)
from hpo.store.study_record import StudyRecord, companion_name
from hpo.store.text_redaction import redact_reason, redact_sentence
from hpo.store.trial_order import sign
from hpo.store.trial_record import TrialRecord
from hpo.study.spec import StudySpec

_Record = TypeVar("_Record", TrialRecord, RunRecord)


@dataclass(frozen=True)
class LoadedComparison:
    """The comparison of a study, or the reason why there is none."""

    runs: Comparison | None = None
    result: ComparisonResult | None = None
    missing_reason: str = "the comparison was not loaded"


@dataclass(eq=False)
class StudyResults:
    """One study as its store has it; each part is read when it is first used, and then kept.

    Properties only read. The comparison is the one exception to lazy reading: it uses the test split, and each use is
    an entry in the store's ledger, so it is loaded by `compare()` and never by looking at a property.
    """

    spec: StudySpec
    url: str = field(repr=False)  # may hold a password
    storage: BaseStorage
    search: optuna.Study
    companion: optuna.Study | None  # study of the final runs
    on_progress: ComparisonProgress = no_progress
    use: str = "report"  # what the test split is used for, as its ledger records it
    loaded: LoadedComparison | None = field(default=None, repr=False)

    @property
    def needed_paths(self) -> list[Path]:
        """The files and folders without which the study cannot be read or used, so no output may replace them."""
        spec, store = self.spec, sqlite_file(self.url)
        paths = [spec.file, spec.best_folder, spec.model_folder, artifact_folder(self.url, spec.file.parent)]
        if store:
            paths += [store, *(store.with_name(store.name + suffix) for suffix in ("-wal", "-shm", "-journal"))]
        named = [spec.data.source, *spec.data.train_names, spec.data.validation, spec.data.test]
        files = [name for value in named for name in (value if isinstance(value, list) else [value])]
        data = [spec.file.parent / expand_path(name) for name in files if isinstance(name, str)]
        existing = [spec.file.parent / expand_path(system.location) for system in spec.final.existing_systems]
        return paths + [path for path in data if path.is_file()] + [path for path in existing if path.exists()]

    def compare(self) -> ComparisonResult | None:
        """Compare the winner with its baselines and record this use of the test split; the second call does nothing.

        Return None if there can be no comparison yet; `missing_reason` says why.
        """
        if self.loaded is None:
            self.loaded = self._load_comparison()
        return self.loaded.result

    def _load_comparison(self) -> LoadedComparison:
        if not self.is_ours:
            return LoadedComparison(missing_reason="the study was not created by hpo, so there are no final runs")
        if not self.complete:
            search = self.spec.command("search")
            return LoadedComparison(
                missing_reason=f"no trial is complete; continue with `{search}`, with more --trials if they are used up"
            )
        try:
            runs = build_comparison(self.spec, self.url, self.on_progress, self.use, self.storage)
            result = self._redact_comparison(runs.to_result())
            runs.store_verdict(result)
            return LoadedComparison(runs, result, "")
        except HpoError as error:
            return LoadedComparison(missing_reason=self._redact(str(error)))

    def _redact_comparison(self, result: ComparisonResult) -> ComparisonResult:
        """Leave out the messages of exceptions if the study shows no texts."""
        if self.spec.report.texts:
            return result
        systems = [
            system.model_copy(update={"failed": list(map(redact_reason, system.failed))}) for system in result.systems
        ]
        failed = {name: redact_reason(reason) for name, reason in result.failed.items()}
        return result.model_copy(update={"systems": systems, "failed": failed})

    def _redact(self, sentence: str) -> str:
        """Leave out what may be a text of the data from a sentence if the study shows no texts."""
        if self.spec.report.texts:
            return sentence
        data = StudyRecord.from_attributes(self.search.user_attrs).data
        columns = (self.spec.data.text, self.spec.data.label)
        return redact_sentence(sentence, {self.spec.name, *columns, *(data.labels if data else ())})

    def _redact_record(self, record: _Record) -> _Record:
        if self.spec.report.texts or record.reason is None:
            return record
        return replace(record, reason=redact_reason(record.reason))

    @property
    def comparison(self) -> ComparisonResult | None:
        """The comparison, if `compare()` was called and there is one."""
        return self.loaded.result if self.loaded else None

    @property
    def comparison_runs(self) -> Comparison | None:
        """The compared runs with their predictions, if `compare()` was called and there is a comparison."""
        return self.loaded.runs if self.loaded else None

    @property
    def missing_reason(self) -> str:
        """Why there is no comparison, and the command that helps; empty if there is one."""
        return (self.loaded or LoadedComparison()).missing_reason

    @cached_property
    def study(self) -> StudyRecord:
        """The study's own attributes."""
        record = StudyRecord.from_attributes(self.search.user_attrs)
        if record.data is None:
            return record
        return replace(record, data=replace(record.data, notices=list(map(self._redact, record.data.notices))))

    @property
    def is_ours(self) -> bool:
        """Whether hpo created the study; of another, only what Optuna itself stores is known."""
        return self.study.is_ours

    @property
    def accelerations(self) -> dict[str, Any]:
        """Field -> value of what `training.speed` chose when the study was created."""
        return dict(self.study.accelerations or {})

    @property
    def fixed_fields(self) -> dict[str, Any]:
        """Training fields that all trials share: those fixed in the study file, and the accelerations."""
        return {**self.spec.fixed, **self.accelerations}

    @cached_property
    def status(self) -> StudyStatus:
        """What `hpo show` prints."""
        return study_status(self.search)

    @cached_property
    def frozen_trials(self) -> list[FrozenTrial]:
        """All trials of the search as Optuna has them, by number; for distributions and Optuna's own functions."""
        return list(self.search.get_trials(deepcopy=False))

    @cached_property
    def trials(self) -> list[TrialRecord]:
        """All trials of the search, by number."""
        return [self._redact_record(TrialRecord.from_trial(trial)) for trial in self.frozen_trials]

    @cached_property
    def complete(self) -> list[TrialRecord]:
        """The complete trials, by number."""
        return [trial for trial in self.trials if trial.outcome == "complete"]

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """The complete trials of a study with one objective, the best first; of equals the earlier one."""
        factor = sign(self.directions[0])
        return sorted(self.complete, key=lambda trial: (-factor * (trial.value or 0.0), trial.number))

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial; None if there is none, or if the study has several objectives."""
        return self.ranked[0] if self.complete and len(self.directions) == 1 else None

    @cached_property
    def runs(self) -> list[RunRecord]:
        """All final runs, by number."""
        runs = self.companion.get_trials(deepcopy=False) if self.companion else []
        return [self._redact_record(RunRecord.from_trial(run)) for run in runs]

    @cached_property
    def trials_table(self) -> pandas.DataFrame:
        """The trials as a data frame; `build_trials_table` documents its columns."""
        return build_trials_table(self.trials, self.objectives)

    @cached_property
    def directions(self) -> list[str]:
        """`maximize` or `minimize`, per objective."""
        return [direction.name.lower() for direction in self.search.directions]

    @cached_property
    def objectives(self) -> list[str]:
        """Names of the objectives; a study that hpo created has one."""
        if self.is_ours and len(self.directions) == 1:
            return [self.spec.objective]
        names = self.search.metric_names
        return list(names) if names else [f"objective {index}" for index in range(len(self.directions))]

    @property
    def data(self) -> TextData | None:
        """The texts; None if they are missing or have changed, as `data_missing_reason` says."""
        return self._data[0]

    @property
    def data_missing_reason(self) -> str:
        """Why the texts cannot be shown; empty if they can."""
        return self._data[1]

    @cached_property
    def _data(self) -> tuple[TextData | None, str]:
        if self.study.data is None:
            return None, "the store does not say which data the study used"
        try:
            data = load_study_data(self.spec)
        except HpoError as error:
            return None, self._redact(str(error))
        stored = self.study.data.fingerprint
        if data.fingerprint != stored:
            return None, f"the data have changed since the search: fingerprint {stored} -> {data.fingerprint}"
        return data, ""

    @property
    def artifacts(self) -> FileSystemArtifactStore:
        """The store of the files that belong to trials."""
        return open_artifact_store(self.url, self.spec)


def read_results(
    spec: StudySpec, url: str, on_progress: ComparisonProgress = no_progress, use: str = "report"
) -> StudyResults:
    """Open the results of a study. If `compare()` is called, the ledger of the test split records this `use`.

    Raises StoreError if there is no store, and StudyError if it has no such study or one of another study file.
    """
    search = load_stored_study(spec, url)
    if StudyRecord.from_attributes(search.user_attrs).identity is not None:
        check_same_spec(search, spec)
    companion = find_study(storage_of(search), companion_name(spec.name))
    return StudyResults(spec, url, storage_of(search), search, companion, on_progress, use)
