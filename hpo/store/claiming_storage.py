"""An RDBStorage whose running trials always name their worker, and that keeps others from writing to them.

Optuna marks a trial as running in one transaction, and its worker can write to it only in the next. A worker that is
killed in between would leave a running trial of nobody, for which others must wait. Here both are one transaction.

A worker that was suspended (a laptop's lid, SIGSTOP) may find its trial taken over by another one. It must not write to
the trial any more, so each write to a claimed trial first checks whose it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from hpo.store.attributes import WORKER
from hpo.store.retrying_storage import RetryingStorage, retried

_trial, _attribute = models.TrialModel, models.TrialUserAttributeModel
_OWNER = (
    select(_attribute.value_json)
    .where(_attribute.trial_id == _trial.trial_id, _attribute.key == WORKER)
    .correlate(_trial)
    .scalar_subquery()
)


class TrialLost(BaseException):
    """The trial that this process runs was taken over by another worker, or ended by somebody.

    Optuna would mark the trial as failed after an Exception, so this is none.
    """


class ClaimingStorage(RetryingStorage):
    """RetryingStorage that starts trials for one worker, if it has one, and writes only to trials that are still its.

    `worker` is the attribute that its trials get; `claimed` is the id of the trial that this process runs.
    """

    worker: Mapping[str, Any] | None = None
    claimed: int | None = None

    def stale_trial_ids(self, study_id: int) -> list[int]:
        """Return the running trials whose heartbeats have stopped."""
        return super()._get_stale_trial_ids(study_id)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        # Optuna fails these trials whenever one starts, also those whose worker is known to be alive, and a failed
        # trial cannot continue. See dead_trials.release_dead_trials.
        return []

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        if template_trial is not None or self.worker is None:
            return super()._create_new_trial(study_id, template_trial)
        owned = create_trial(state=TrialState.RUNNING, user_attrs={WORKER: dict(self.worker)})
        trial = super()._create_new_trial(study_id, owned)
        self.claimed = trial._trial_id
        return trial

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> models.TrialModel:
        trial = super()._get_prepared_new_trial(study_id, template_trial, session)
        if trial.state == TrialState.RUNNING:
            _beat(session, int(trial.trial_id))
        return trial

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Change the state of a trial, unless another worker has taken it over."""
        if state == TrialState.RUNNING and self.worker is not None:
            if not self._claim(trial_id):
                return False
            self.claimed = trial_id
            return True
        if trial_id == self.claimed:
            if not self.is_mine(trial_id):
                return False
            self.claimed = None
        return super().set_trial_state_values(trial_id, state, values)

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        self._check_owner(trial_id)
        super()._set_trial_param(trial_id, param_name, param_value_internal, distribution, previous_distribution)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Store the score at a rung."""
        self._check_owner(trial_id)
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store an attribute."""
        self._check_owner(trial_id)
        super().set_trial_user_attr(trial_id, key, value)

    @retried
    def is_mine(self, trial_id: int) -> bool:
        """Whether a trial is running for this storage's worker."""
        query = select(_trial.state, _OWNER).where(_trial.trial_id == trial_id)
        try:
            with Session(self.engine) as session:
                row = session.execute(query).one_or_none()
        except SQLAlchemyError as error:
            raise StorageInternalError(str(error)) from error
        return (
            row is not None
            and row[0] == TrialState.RUNNING
            and self.worker is not None
            and row[1] == _as_json(self.worker)
        )

    @retried
    def release_trial(
        self, trial_id: int, owner: Mapping[str, Any] | None, state: TrialState, attributes: Mapping[str, Any]
    ) -> bool:
        """Let a trial wait for any worker, or fail it, if it still runs for this owner; return whether it did.

        Several workers may notice at once that the owner is dead. Only the first of them releases the trial; otherwise
        a later one would take it from the worker that has started it in between.
        """
        is_owned = (_trial.trial_id == trial_id, _trial.state == TrialState.RUNNING)
        is_same = _OWNER.is_not_distinct_from(None if owner is None else _as_json(owner))
        ended = {"_datetime_complete_utc": datetime.now(UTC).replace(tzinfo=None)} if state.is_finished() else {}
        try:
            with Session(self.engine) as session, session.begin() as transaction:
                model = session.get(_trial, trial_id)
                if model is None or model.state != TrialState.RUNNING:
                    self._forget(trial_id)  # perhaps an earlier attempt, whose answer was lost, has released it
                    return False
                for key, value in attributes.items():
                    self._set_trial_attr_without_commit(session, _attribute, trial_id, key, value)
                if not _update_one(session, update(_trial).where(*is_owned, is_same).values(state=state, **ended)):
                    transaction.rollback()
                    return False
        except SQLAlchemyError as error:
            raise StorageInternalError(str(error)) from error
        self._forget(trial_id)
        return True

    def _forget(self, trial_id: int) -> None:
        if trial_id == self.claimed:
            self.claimed = None

    def _check_owner(self, trial_id: int) -> None:
        if trial_id == self.claimed and not self.is_mine(trial_id):
            raise TrialLost

    @retried
    def _claim(self, trial_id: int) -> bool:
        """Start a waiting trial for this worker; return False if it is not waiting any more.

        Optuna reads the state and writes it afterwards, so that with SQLite two workers can start the same trial.
        """
        assert self.worker is not None
        is_waiting = (_trial.trial_id == trial_id, _trial.state == TrialState.WAITING)
        now = datetime.now(UTC).replace(tzinfo=None)
        started = update(_trial).where(*is_waiting).values(state=TrialState.RUNNING, _datetime_start_utc=now)
        try:
            with Session(self.engine) as session, session.begin():
                if not _update_one(session, started):
                    return self.is_mine(trial_id)  # an earlier attempt, whose answer was lost, has started it
                self._set_trial_attr_without_commit(session, _attribute, trial_id, WORKER, dict(self.worker))
                _beat(session, trial_id)
        except SQLAlchemyError as error:
            raise StorageInternalError(str(error)) from error
        return True


def _beat(session: Session, trial_id: int) -> None:
    """Record the first heartbeat of a trial's worker, in the transaction that starts the trial.

    A worker on another machine that is killed right after it would otherwise count as alive for ever, because only
    heartbeats can stop. A trial that continues would have the last heartbeat of its former worker.
    """
    heartbeat = models.TrialHeartbeatModel.where_trial_id(trial_id, session)
    if heartbeat is None:
        session.add(models.TrialHeartbeatModel(trial_id=trial_id))
    else:
        heartbeat.heartbeat = session.execute(func.now()).scalar()


def _update_one(session: Session, statement: Any) -> bool:
    """Run an UPDATE and return whether it has changed a row."""
    result: Any = session.execute(statement.execution_options(synchronize_session=False))
    return bool(result.rowcount == 1)


def _as_json(owner: Mapping[str, Any]) -> str:
    return json.dumps(dict(owner))  # as Optuna writes attributes
