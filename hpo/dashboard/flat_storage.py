"""The store as the dashboard shows it: nested attributes side by side, each short; what is stored stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage, RDBStorage, _CachedStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from hpo.results.formatting import METRIC_HEADINGS
from hpo.store.provenance import format_commit

# What a person wants of a trial comes first, under its own name. Left out is what only hpo reads.
PLAIN_ATTRIBUTES = (
    "reason",
    "source",
    "retry_of",
    "system",
    "seed",
    "trained_on",
    "best",
    "best_rung",
    "tokens",
    "examples",
    "steps",
    "peak_memory",
    "batch_split",
    "predicted_per_second",
)


class FlatStorage(_CachedStorage):
    """A storage whose trials and studies, where hpo made them, carry attributes that fit into a cell.

    The dashboard shows a nested attribute as one line of JSON, cut off at 1,024 characters, which makes its pages
    several screens wide and its tables unreadable. Only what is read through this class differs.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self._flat: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}  # trial id -> as stored, as shown

    def stored_trials(self, study_id: int) -> list[FrozenTrial]:
        """A study's trials as they are stored."""
        return super().get_all_trials(study_id, deepcopy=False)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        found = [self._shown(trial) for trial in super().get_all_trials(study_id, False, states)]
        return copy.deepcopy(found) if deepcopy else found

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return self._shown(super().get_best_trial(study_id))

    def get_all_studies(self) -> list[FrozenStudy]:
        found = sorted(super().get_all_studies(), key=lambda study: int(study._study_id))
        return [_shown_study(study) for study in found]

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        # The dashboard renames a study by copying what it was shown; the copy is to hold what is stored.
        if template_trial is not None and template_trial._trial_id in self._flat:
            template_trial = copy.copy(template_trial)
            template_trial.user_attrs = self._flat[template_trial._trial_id][0].user_attrs
        return super().create_new_trial(study_id, template_trial)

    def _shown(self, trial: FrozenTrial) -> FrozenTrial:
        known = self._flat.get(trial._trial_id)
        if known is not None and known[0] is trial:
            return known[1]
        flat = copy.copy(trial)
        flat.user_attrs = flatten_attributes(trial)
        self._flat[trial._trial_id] = (trial, flat)
        return flat


class UnflattenedStudy(optuna.Study):
    """A study of a shown storage, with its trials as they are stored."""

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        found = cast(FlatStorage, self._storage).stored_trials(self._study_id)
        return [trial for trial in found if states is None or trial.state in states]


def load_unflattened_study(storage: BaseStorage, name: str) -> optuna.Study:
    """A stored study, its trials with all their attributes."""
    return (
        UnflattenedStudy(name, storage)
        if isinstance(storage, FlatStorage)
        else optuna.load_study(study_name=name, storage=storage)
    )


def flatten_attributes(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's attributes, none nested: `seconds_train`, `effective_learning_rate`, `metric_f1_macro`.

    Metrics are those of the last rung. A trial that hpo did not make keeps what it has.
    """
    known = trial.user_attrs
    if "provenance" not in known:
        return known
    rung = str(max(trial.intermediate_values, default=""))
    tables = {
        "seconds": known.get("seconds"),
        "effective": known.get("effective"),
        "metric": (known.get("metrics") or {}).get(rung),
        "validation": (known.get("validation") or {}).get("metrics"),
        "test": (known.get("test") or {}).get("metrics"),
    }
    shown = {name: known[name] for name in PLAIN_ATTRIBUTES if name in known}
    for prefix, table in tables.items():
        wanted = table or {}
        if prefix not in {"seconds", "effective"}:
            wanted = {name: value for name, value in wanted.items() if name in METRIC_HEADINGS}
        shown |= {f"{prefix}_{name}": value for name, value in wanted.items()}
    shown |= {"device": known["provenance"].get("device"), "host": (known.get("worker") or {}).get("host")}
    return {name: _short(value) for name, value in shown.items() if value is not None}


def _shown_study(study: FrozenStudy) -> FrozenStudy:
    """The same study, with what its file says and where it comes from in place of whole tables."""
    known = study.user_attrs
    if "spec" not in known:
        return study
    flat = copy.copy(study)
    spec, data = known["spec"], known.get("data") or {}
    shown = {
        "objective": spec["objective"],
        "checkpoint": spec["model"]["checkpoint"],
        "source": spec["data"]["source"],
        "rows": _listed(data.get("rows") or {}),
        "fingerprint": data.get("fingerprint"),
        "sampler": spec["search"]["sampler"]["name"],
        "pruner": spec["search"]["pruner"]["name"],
        "trials": spec["search"]["trials"],
        "seed": known.get("seed"),
        "device": known.get("device"),
        "commit": format_commit(known.get("git")),
        "versions": _listed(known.get("versions") or {}),
    }
    flat.user_attrs = {name: value for name, value in shown.items() if value not in (None, "")}
    return flat


def _listed(table: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in table.items())


def _short(value: Any) -> Any:
    """A number with as many digits as fit a cell."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
