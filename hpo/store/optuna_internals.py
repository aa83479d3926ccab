"""Names of Optuna that are not part of its public interface, collected so that an update breaks one module.

Each function says why the public interface is not enough. tests/store/test_optuna_internals.py checks every name
against the installed version. Optuna is imported inside the functions: `hpo show` reads SQLite stores without it.
"""

from __future__ import annotations

from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any

from hpo.store.attributes import WORKER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial, TrialState

    from hpo.store.claiming_storage import ClaimingStorage

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
        "RDBStorage._set_trial_attr_without_commit",
        "_CachedStorage",
    ),
    "optuna.storages._heartbeat": ("Thread", "HeartbeatThread"),
    "optuna.storages._rdb.models": (
        "TrialModel._datetime_start_utc",
        "TrialModel._datetime_complete_utc",
        "TrialUserAttributeModel",
        "TrialSystemAttributeModel",
        "StudyModel.find_or_raise_by_id",
        "TrialHeartbeatModel.where_trial_id",
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


def uncached(storage: BaseStorage) -> Any:
    """Return the storage inside Optuna's cache, or the storage itself if it has none."""
    return getattr(storage, "_backend", storage)


def database_url(storage: BaseStorage) -> str | None:
    """Return the URL of the database that a storage uses, with its password, or None for a storage without one."""
    engine = getattr(uncached(storage), "engine", None)
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


def claim_trials_for(study: Study, worker: Mapping[str, Any] | None) -> None:
    """Let the storage start trials for this worker; with None, for nobody."""
    if (storage := _claiming_storage(study)) is not None:
        storage.worker, storage.claimed = worker, None


def claimed_trial(study: Study) -> FrozenTrial | None:
    """Return the trial that this process has started and not ended.

    The store is asked, because a signal may have come after the transaction that started it.
    """
    from optuna.trial import TrialState

    storage = _claiming_storage(study)
    if storage is None or storage.worker is None:
        return None
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return next((trial for trial in running if trial.user_attrs.get(WORKER) == storage.worker), None)


def is_trial_lost(study: Study) -> bool:
    """Whether the trial that this process has started belongs to another worker now, or was ended by somebody."""
    storage = _claiming_storage(study)
    return storage is not None and storage.claimed is not None and not storage.is_mine(storage.claimed)


def stale_trial_ids(study: Study) -> set[int]:
    """Return the ids of the running trials whose heartbeats have stopped."""
    storage = _claiming_storage(study)
    return set() if storage is None else set(storage.stale_trial_ids(study._study_id))


def release_trial(study: Study, trial: FrozenTrial, state: TrialState, attributes: Mapping[str, Any]) -> bool:
    """Let a running trial wait for any worker, or fail it, unless it has ended or has another owner than `trial` says.

    Optuna has no method for that: a trial that runs can wait again, but a failed one cannot. Returns whether it was
    done. Attributes are stored with it.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    storage = _claiming_storage(study)
    if storage is not None:
        return storage.release_trial(trial._trial_id, trial.user_attrs.get(WORKER), state, attributes)
    try:
        for key, value in attributes.items():
            set_trial_attribute(study, trial, key, value)
        return study._storage.set_trial_state_values(trial._trial_id, state)
    except UpdateFinishedTrialError:
        return False


def use_daemon_heartbeats() -> None:
    """Let the threads in which Optuna sends heartbeats be daemons.

    Optuna stops such a thread in a `with` statement. If a second Ctrl-C arrives while the statement is entered or left,
    nobody stops the thread, and Python waits for it for ever when the process should end.
    """
    import optuna.storages._heartbeat

    setattr(optuna.storages._heartbeat, "Thread", partial(Thread, daemon=True))  # noqa: B010  # unknown to mypy


def _claiming_storage(study: Study) -> ClaimingStorage | None:
    """Return the storage of a database that hpo has opened; None for any other."""
    from hpo.store.claiming_storage import ClaimingStorage

    storage = uncached(study._storage)
    return storage if isinstance(storage, ClaimingStorage) else None


def fixed_values(trial: FrozenTrial) -> dict[str, Any]:
    """Return the values that a queued trial was enqueued with; Optuna keeps them in a system attribute."""
    return dict(trial.system_attrs.get("fixed_params", {}))


def unit_cube(distributions: Mapping[str, BaseDistribution]) -> Any:
    """Return the transformation between parameters and the unit cube in which Optuna's own samplers draw."""
    from optuna._transform import _SearchSpaceTransform

    return _SearchSpaceTransform(dict(distributions), transform_0_1=True)
