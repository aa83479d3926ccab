"""Everything that is known of one study, read once: what the report, the dashboard and the exports tell from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
import pandas
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from hpo.data.splits import TextData
from hpo.errors import HpoError
from hpo.evaluation.comparison import Comparison, ComparisonProgress, build_comparison, no_progress
from hpo.evaluation.comparison_result import ComparisonResult
from hpo.results.study_status import study_status
from hpo.results.trials_table import build_trials_table
from hpo.search.preflight import load_study_data
from hpo.store.records import RunRecord, StudyRecord, TrialRecord
from hpo.store.storage import check_same_spec, companion_name, find_study, load_stored_study, open_artifact_store
from hpo.study.spec import StudySpec


# Temporary adapters: typed records that older readers may still use as Optuna's trials and as dictionaries.
class _AdaptedTrial(TrialRecord):
    @classmethod
    def adapt(cls, trial: FrozenTrial) -> _AdaptedTrial:
        record = cls.from_trial(trial)
        object.__setattr__(record, "_stored", trial)
        return record

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_stored"), name)


class _AdaptedRun(RunRecord):
    @classmethod
    def adapt(cls, trial: FrozenTrial) -> _AdaptedRun:
        record = cls.from_trial(trial)
        object.__setattr__(record, "_stored", trial)
        return record

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_stored"), name)


class _AdaptedComparison(ComparisonResult):
    def __getitem__(self, name: str) -> Any:
        return self.__dict__["_stored"][name]


def _adapt_comparison(found: dict[str, Any]) -> ComparisonResult:
    gap = found["optimism"]
    adapted = {
        **found,
        "systems": [{**system, "description": system["as"]} for system in found["systems"]],
        "differences": [{**row, "includes_seeds": row["seeds_are_in_it"]} for row in found["differences"]],
        "baseline_command": found["make"],
        "generalization": {**gap, "gap": gap["optimism"]},
    }
    result = _AdaptedComparison.model_validate(adapted)
    result.__dict__["_stored"] = found
    return result


@dataclass(frozen=True)
class LoadedComparison:
    """The comparison of a study, or the reason why there is none."""

    runs: Comparison | None = None
    result: Any = None
    missing_reason: str = "the comparison was not loaded"


@dataclass(eq=False)
class StudyResults:
    """One study as its store has it, with its comparison where there can be one."""

    spec: StudySpec
    url: str
    storage: BaseStorage
    search: optuna.Study
    companion: optuna.Study | None  # of the final runs
    tell: ComparisonProgress = no_progress
    use: str = "report"  # for which the test split is looked at, as its ledger has it
    loaded: LoadedComparison | None = None

    def compare(self) -> ComparisonResult | None:
        """Load the comparison."""
        if self.loaded is None:
            runs, reason = self._weighed
            self.loaded = LoadedComparison(runs, runs.about() if runs else None, reason)
        return self.comparison

    @property
    def comparison_runs(self) -> Comparison | None:
        """The live comparison."""
        return self.loaded.runs if self.loaded else None

    @cached_property
    def _adapted(self) -> ComparisonResult | None:
        return _adapt_comparison(self.loaded.result) if self.loaded and self.loaded.result else None

    @property
    def comparison(self) -> ComparisonResult | None:
        """The comparison as typed records."""
        return self._adapted if self.loaded else None

    @cached_property
    def study(self) -> StudyRecord:
        """The study's own attributes."""
        return StudyRecord.from_attributes(self.search.user_attrs)

    @property
    def missing_reason(self) -> str:
        """Why there is no comparison."""
        return self.missing

    @property
    def accelerations(self) -> dict[str, Any]:
        """Fields that training.speed chose."""
        return self.levers

    @property
    def fixed(self) -> dict[str, Any]:
        """What all runs have in common: fields that the study file fixes, and levers that make them faster."""
        return {**self.spec.fixed, **self.levers}

    @property
    def levers(self) -> dict[str, Any]:
        """Field -> value of what `training.speed` took when the study was made."""
        return dict(self.search.user_attrs.get("speed") or {})

    @property
    def missing(self) -> str:
        """Why there is no comparison, and what to type; empty where there is one."""
        self.compare()
        return self.loaded.missing_reason if self.loaded else ""

    @cached_property
    def _weighed(self) -> tuple[Comparison | None, str]:
        if not self.is_ours:
            return None, "the study was not made by hpo, so there are no runs"
        if not self.complete:
            on = f"`{self.spec.command('search')}` goes on, with more --trials where its budget is spent"
            return None, f"no trial is complete, so none is the best; {on}"
        try:
            return build_comparison(self.spec, self.url, self.tell, self.use, self.storage), ""
        except HpoError as error:
            return None, str(error)

    @cached_property
    def found(self) -> dict[str, Any] | None:
        """What `hpo compare --json` prints, where the winner and at least one of its runs are there."""
        self.compare()
        return self.loaded.result if self.loaded else None

    @cached_property
    def status(self) -> dict[str, Any]:
        """What `hpo show --json` prints."""
        return study_status(self.search)

    @cached_property
    def frozen_trials(self) -> list[FrozenTrial]:
        """All trials of the search, by number."""
        return list(self.search.get_trials(deepcopy=False))

    @cached_property
    def trials(self) -> list[TrialRecord]:
        """All trials of the search, by number."""
        return [_AdaptedTrial.adapt(trial) for trial in self.frozen_trials]

    @cached_property
    def complete(self) -> list[TrialRecord]:
        """The trials that came to their end."""
        return [trial for trial in self.trials if trial.outcome == "complete"]

    @cached_property
    def runs(self) -> list[RunRecord]:
        """All final runs, by number."""
        return [_AdaptedRun.adapt(run) for run in self.companion.get_trials(deepcopy=False)] if self.companion else []

    @cached_property
    def frame(self) -> pandas.DataFrame:
        """The trials as a table; see `frame`."""
        return build_trials_table(self.frozen_trials, self.objectives)

    @cached_property
    def is_ours(self) -> bool:
        """Whether hpo made the study; of another, only what Optuna itself stores is known."""
        return "spec" in self.search.user_attrs

    @cached_property
    def directions(self) -> list[str]:
        """`maximize` or `minimize`, per objective."""
        return [direction.name.lower() for direction in self.search.directions]

    @cached_property
    def objectives(self) -> list[str]:
        """The names of the objectives; a study of hpo has one."""
        if self.is_ours and len(self.directions) == 1:
            return [self.spec.objective]
        named = self.search.metric_names
        return list(named) if named else [f"objective {place}" for place in range(len(self.directions))]

    @cached_property
    def best(self) -> TrialRecord | None:
        """The best complete trial, the first of equals; None without one, or where there are several objectives."""
        if not self.complete or len(self.directions) > 1:
            return None
        return self.ranked[0]

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """The complete trials of a study with one objective, the best first; of equals the earlier."""
        sign = -1 if self.directions[0] == "maximize" else 1
        return sorted(self.complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    @cached_property
    def data(self) -> TextData | None:
        """The texts, where the very same are still at hand; None otherwise, as `data_missing` tells."""
        return self._data[0]

    @property
    def data_missing(self) -> str:
        """Why the texts cannot be shown; empty where they can."""
        return self._data[1]

    @cached_property
    def _data(self) -> tuple[TextData | None, str]:
        stored = self.search.user_attrs.get("data")
        if stored is None:
            return None, "the store does not say on which data the study ran"
        try:
            found = load_study_data(self.spec)
        except HpoError as error:
            return None, str(error)
        if found.fingerprint != stored["fingerprint"]:
            return None, f"the data have changed since: fingerprint {stored['fingerprint']} -> {found.fingerprint}"
        return found, ""

    @property
    def artifacts(self) -> FileSystemArtifactStore:
        """Where the files of its trials lie."""
        return open_artifact_store(self.url, self.spec)


def read_results(
    spec: StudySpec, url: str, tell: ComparisonProgress = no_progress, use: str = "report"
) -> StudyResults:
    """The record of a study; where its comparison is asked for, the ledger has an entry of this `use`.

    Raises StoreError and StudyError: no store, no such study in it, or one that was made from another study file.
    """
    search = load_stored_study(spec, url)
    if "identity" in search.user_attrs:
        check_same_spec(search, spec)
    companion = find_study(search._storage, companion_name(spec.name))
    return StudyResults(spec, url, search._storage, search, companion, tell, use)
