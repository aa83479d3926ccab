"""A view of the store in which attributes are flat and short; what is stored does not change."""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage, RDBStorage, _CachedStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from hpo.results.formatting import TABLE_METRICS
from hpo.store.attributes import Seconds
from hpo.store.provenance import format_commit
from hpo.store.run_record import RunRecord
from hpo.store.study_record import StudyRecord
from hpo.store.text_redaction import redact_reason
from hpo.store.trial_record import TrialRecord


class FlatStorage(_CachedStorage):
    """A storage that shows flat attributes for the trials and studies that hpo made.

    The dashboard shows a nested attribute as one line of JSON, cut off at 1,024 characters: pages become several
    screens wide and tables unreadable.
    """

    def __init__(self, backend: RDBStorage, quotes_texts: bool = True) -> None:
        super().__init__(backend)
        self.quotes_texts = quotes_texts  # False: the reasons of failures are shown without messages of exceptions
        self._flattened: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}  # trial id -> (stored trial, flat copy)

    def stored_trials(self, study_id: int) -> list[FrozenTrial]:
        """Return a study's trials with their stored attributes."""
        return super().get_all_trials(study_id, deepcopy=False)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = [self._flatten_trial(trial) for trial in super().get_all_trials(study_id, False, states)]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return self._flatten_trial(super().get_best_trial(study_id))

    def get_all_studies(self) -> list[FrozenStudy]:
        studies = sorted(super().get_all_studies(), key=lambda study: int(study._study_id))
        return [_flatten_study(study) for study in studies]

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        # The dashboard renames a study by copying the trials that it reads here; the copy needs the stored attributes.
        if template_trial is not None and template_trial._trial_id in self._flattened:
            template_trial = copy.copy(template_trial)
            template_trial.user_attrs = self._flattened[template_trial._trial_id][0].user_attrs
        return super().create_new_trial(study_id, template_trial)

    def _flatten_trial(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a flat copy; it is cached until the stored trial is another object."""
        cached = self._flattened.get(trial._trial_id)
        if cached is not None and cached[0] is trial:
            return cached[1]
        flat = copy.copy(trial)
        flat.user_attrs = flatten_attributes(trial)
        if not self.quotes_texts and "reason" in flat.user_attrs:
            flat.user_attrs["reason"] = redact_reason(str(flat.user_attrs["reason"]))
        self._flattened[trial._trial_id] = (trial, flat)
        return flat


class UnflattenedStudy(optuna.Study):
    """A study of a FlatStorage whose trials have their stored attributes."""

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        trials = cast(FlatStorage, self._storage).stored_trials(self._study_id)
        return [trial for trial in trials if states is None or trial.state in states]


def load_unflattened_study(storage: BaseStorage, name: str) -> optuna.Study:
    """Return a study whose trials have their stored attributes."""
    return (
        UnflattenedStudy(name, storage)
        if isinstance(storage, FlatStorage)
        else optuna.load_study(study_name=name, storage=storage)
    )


def flatten_attributes(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's attributes without nesting: `seconds_train`, `effective_learning_rate`, `metric_f1_macro`.

    What readers look for comes first, metrics are those of the last rung, and what only hpo reads is left out.
    A trial that hpo did not make keeps its attributes.
    """
    if not TrialRecord.is_hpo_trial(trial):
        return dict(trial.user_attrs)
    record = TrialRecord.from_trial(trial)
    run = RunRecord.from_trial(trial)
    flat: dict[str, Any] = {
        "reason": record.reason,
        "source": record.source,
        "retry_of": record.retry_of,
        "system": run.system or None,
        "seed": record.seed,
        "trained_on": run.trained_on if run.validation else None,
        "best": record.best,
        "best_rung": record.best_rung,
        "tokens": record.tokens,
        "examples": record.examples,
        "steps": record.steps,
        "peak_memory": record.peak_memory,
        "batch_split": record.batch_split,
        "predicted_per_second": run.predicted_per_second,
    }
    flat |= _with_prefix("seconds", {} if record.seconds == Seconds() else record.seconds.measured())
    flat |= _with_prefix("effective", record.effective)
    flat |= _with_prefix("metric", _common_metrics(record.last_scores))
    for split, scores in (("validation", run.validation), ("test", run.test)):
        flat |= _with_prefix(split, _common_metrics(scores.metrics if scores else {}))
    flat |= {"device": record.provenance.device or None, "host": record.worker.host if record.worker else None}
    return {name: _shorten(value) for name, value in flat.items() if value is not None}


def _with_prefix(prefix: str, table: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}_{name}": value for name, value in table.items()}


def _common_metrics(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores that tables show; all others would only make the page longer."""
    return {name: value for name, value in scores.items() if name in TABLE_METRICS}


def _flatten_study(study: FrozenStudy) -> FrozenStudy:
    """Return a copy of a study with a summary of its file, data and origin instead of nested tables."""
    record = StudyRecord.from_attributes(study.user_attrs)
    if record.spec is None:
        return study
    spec, data = record.spec, record.data
    flat = copy.copy(study)
    summary = {
        "objective": record.objective,
        "checkpoint": spec["model"]["checkpoint"],
        "source": spec["data"]["source"],
        "rows": _join_items(data.rows) if data else None,
        "fingerprint": data.fingerprint if data else None,
        "sampler": spec["search"]["sampler"]["name"],
        "pruner": spec["search"]["pruner"]["name"],
        "trials": spec["search"]["trials"],
        "seed": record.seed,
        "device": record.device,
        "commit": format_commit(record.git),
        "versions": _join_items(record.versions),
    }
    flat.user_attrs = {name: value for name, value in summary.items() if value not in (None, "")}
    return flat


def _join_items(table: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in table.items())


def _shorten(value: Any) -> Any:
    """Return a number with as many digits as fit a table cell."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
