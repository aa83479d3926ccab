"""A BulkStorage whose operations wait while the store is away, and can be repeated without an effect of their own.

If the connection is lost during a commit, nobody knows whether the commit has happened. Most operations of Optuna can
simply be repeated. The others, which create and end trials, first look whether an earlier attempt has succeeded.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.orm import Session

from hpo.store.attribute_checks import STUDY_CHECKS, STUDY_MARK, find_malformed
from hpo.store.bulk_storage import BulkStorage
from hpo.store.outages import DamagedError, Outages

_CREATION = "hpo:creation"  # system attribute of a trial: the random token of the call that created it
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Operation = Callable[Concatenate[Any, _Arguments], _Result]


def retried(operation: _Operation[_Arguments, _Result]) -> _Operation[_Arguments, _Result]:
    """Let a method of a RetryingStorage wait while the store is away. It must be one that can be repeated."""

    @wraps(operation)
    def call(self: Any, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        result: _Result = self.outages.retry(lambda: operation(self, *args, **kwargs))
        return result

    return call


class RetryingStorage(BulkStorage):
    """BulkStorage that waits while the store is away."""

    def __init__(self, connection: str, outages: Outages, **options: Any) -> None:
        self.outages = outages
        self._attempted: set[str] = set()  # tokens of trials whose creation was attempted and has not succeeded yet
        super().__init__(connection, **options)

    get_study_id_from_name = retried(BulkStorage.get_study_id_from_name)
    get_study_name_from_id = retried(BulkStorage.get_study_name_from_id)
    get_study_directions = retried(BulkStorage.get_study_directions)
    get_study_system_attrs = retried(BulkStorage.get_study_system_attrs)
    set_study_user_attr = retried(BulkStorage.set_study_user_attr)
    set_study_system_attr = retried(BulkStorage.set_study_system_attr)
    create_new_study = retried(BulkStorage.create_new_study)
    get_trial = retried(BulkStorage.get_trial)
    get_trial_user_attrs = retried(BulkStorage.get_trial_user_attrs)
    get_trial_system_attrs = retried(BulkStorage.get_trial_system_attrs)
    get_trial_id_from_study_id_trial_number = retried(BulkStorage.get_trial_id_from_study_id_trial_number)
    set_trial_intermediate_value = retried(BulkStorage.set_trial_intermediate_value)
    set_trial_user_attr = retried(BulkStorage.set_trial_user_attr)
    set_trial_system_attr = retried(BulkStorage.set_trial_system_attr)
    _set_trial_param = retried(BulkStorage._set_trial_param)
    _get_trials = retried(BulkStorage._get_trials)
    _get_best_trial_id = retried(BulkStorage._get_best_trial_id)
    _get_stale_trial_ids = retried(BulkStorage._get_stale_trial_ids)

    @retried
    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the attributes of a study."""
        attributes = super().get_study_user_attrs(study_id)
        if name := find_malformed(attributes, STUDY_CHECKS, STUDY_MARK):
            raise _malformed_error(name, self.get_study_name_from_id(study_id))
        return attributes

    @retried
    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies with their attributes."""
        studies = super().get_all_studies()
        for study in studies:
            if name := find_malformed(study.user_attrs, STUDY_CHECKS, STUDY_MARK):
                raise _malformed_error(name, study.study_name)
        return studies

    def record_heartbeat(self, trial_id: int) -> None:
        """Record a sign of life, once and without waiting."""
        # An exception would end Optuna's heartbeat thread, and the trial would be failed as stale while it runs. A
        # single missed heartbeat does no harm.
        with suppress(Exception):
            super().record_heartbeat(trial_id)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Change the state of a trial; return False if it is to start and another process has started it."""
        is_repeated = False

        def change() -> bool:
            nonlocal is_repeated
            try:
                return super(RetryingStorage, self).set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if is_repeated and self._has_ended(trial_id, state, values):
                    return True
                raise
            finally:
                is_repeated = True

        return self.outages.retry(change)

    def _has_ended(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
        """Whether a trial has just this state and these values."""
        trial = BulkStorage.get_trial(self, trial_id)
        return trial.state == state and trial.values == (None if values is None else list(values))

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        template = copy.copy(template_trial) if template_trial else create_trial(state=TrialState.RUNNING)
        token = uuid.uuid4().hex
        template.system_attrs = {**template.system_attrs, _CREATION: token}
        try:
            return self.outages.retry(
                lambda: super(RetryingStorage, self)._create_new_trial(study_id, template),
            )
        finally:
            self._attempted.discard(token)

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> models.TrialModel:
        # Optuna repeats the transaction itself, up to five times, before `retry` does.
        assert template_trial is not None
        token = template_trial.system_attrs[_CREATION]
        if token in self._attempted:
            attribute = models.TrialSystemAttributeModel
            is_ours = (attribute.key == _CREATION, attribute.value_json == json.dumps(token))
            created = session.query(models.TrialModel).join(attribute).filter(*is_ours).one_or_none()
            if created is not None:
                return created
        self._attempted.add(token)
        return super()._get_prepared_new_trial(study_id, template_trial, session)


def _malformed_error(attribute: str, study: str) -> DamagedError:
    return DamagedError(f"attribute {attribute!r} of study {study!r} has a wrong form")
