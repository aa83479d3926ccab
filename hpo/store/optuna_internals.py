"""Names of Optuna that are not part of its public interface, collected so that an update breaks one module.

Each function says why the public interface is not enough. tests/store/test_optuna_internals.py checks every name
against the installed version. Optuna is imported inside the functions: `hpo show` reads SQLite stores without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

# Module -> the private names that this package uses from it.
PRIVATE_NAMES = {
    "optuna._transform": ("_SearchSpaceTransform",),
    "optuna.pruners": ("HyperbandPruner._get_bracket_id",),
    "optuna.storages": (
        "RDBStorage._get_trials",
        "RDBStorage._get_stale_trial_ids",
        "RDBStorage._get_best_trial_id",
        "RDBStorage._create_new_trial",
        "RDBStorage._get_prepared_new_trial",
        "RDBStorage._set_trial_param",
        "_CachedStorage",
    ),
    "optuna.storages._rdb.models": (
        "TrialModel",
        "TrialSystemAttributeModel",
        "StudyModel.find_or_raise_by_id",
        "NOT_FOUND_MSG",
    ),
    "optuna.study._frozen": ("FrozenStudy",),
}


def storage_of(study: Study) -> BaseStorage:
    """Return the storage object of an open study.

    For a database it is Optuna's cache around the storage, which remembers finished trials. Opening the study from the
    uncached storage again would read all of them for each trial.
    """
    return study._storage


def database_url(storage: BaseStorage) -> str | None:
    """Return the URL of the database that a storage uses, with its password, or None for a storage without one."""
    engine = getattr(getattr(storage, "_backend", storage), "engine", None)
    return engine.url.render_as_string(hide_password=False) if engine is not None else None


def study_id(study: Study) -> int:
    """Return the number of a study in its storage; methods of storages take nothing else."""
    return study._study_id


def trial_id(trial: FrozenTrial | Trial) -> int:
    """Return the number of a trial in its storage, which is unique across studies."""
    return trial._trial_id


def read_all_trials(study: Study) -> list[FrozenTrial]:
    """Return every trial of a study, without copying them.

    Hyperband passes samplers and pruners a study whose `get_trials` returns one bracket only; the storage has all.
    """
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def set_trial_attribute(study: Study, trial: FrozenTrial, key: str, value: Any) -> None:
    """Set a user attribute of a stored trial; Optuna lets only the process that runs a trial do so."""
    study._storage.set_trial_user_attr(trial._trial_id, key, value)


def fail_trial(study: Study, trial: FrozenTrial) -> None:
    """Mark a running trial of another process as failed. Raises UpdateFinishedTrialError if it has ended already."""
    from optuna.trial import TrialState

    study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def fixed_values(trial: FrozenTrial) -> dict[str, Any]:
    """Return the values that a queued trial was enqueued with; Optuna keeps them in a system attribute."""
    return dict(trial.system_attrs.get("fixed_params", {}))


def unit_cube(distributions: Mapping[str, BaseDistribution]) -> Any:
    """Return the transformation between parameters and the unit cube in which Optuna's own samplers draw."""
    from optuna._transform import _SearchSpaceTransform

    return _SearchSpaceTransform(dict(distributions), transform_0_1=True)
