"""All trials of a study in six queries: Optuna makes an object of every value first, which takes five times as long."""

from __future__ import annotations

import gc
import json
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from optuna.distributions import json_to_distribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

_axis = cache(json_to_distribution)


class QuickStorage(RDBStorage):
    """RDBStorage that reads a whole study at once where a whole study is asked for."""

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        if states is None and trial_id_greater_than < 0:
            try:
                with _no_collection():
                    return read_trials(self.engine, study_id)
            except SQLAlchemyError as error:
                raise StorageInternalError(str(error)) from error
        return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Nothing of what is read is garbage yet, and looking for some takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_trials(engine: Engine, study_id: int) -> list[FrozenTrial]:
    """Every trial of a study, as Optuna's own reading gives them. Raises KeyError where there is no such study."""
    trial = models.TrialModel
    with Session(engine) as session:
        models.StudyModel.find_or_raise_by_id(study_id, session)
        rows: Sequence[Any] = session.scalars(select(trial).filter_by(study_id=study_id).order_by(trial.trial_id)).all()

        def of_each(model: Any, *names: str) -> dict[int, list[Any]]:
            """Trial id -> its rows in another table, in the order in which they were written."""
            table = model.__table__
            (written,) = table.primary_key.columns
            query = select(table.c.trial_id, *(table.c[name] for name in names))
            query = query.join(trial, trial.trial_id == table.c.trial_id).where(trial.study_id == study_id)
            found: dict[int, list[Any]] = defaultdict(list)
            for number, *row in session.connection().execute(query.order_by(written)):
                found[number].append(row)
            return found

        value, rung = models.TrialValueModel, models.TrialIntermediateValueModel
        params = of_each(models.TrialParamModel, "param_name", "param_value", "distribution_json")
        values = of_each(value, "objective", "value", "value_type")
        rungs = of_each(rung, "step", "intermediate_value", "intermediate_value_type")
        user = of_each(models.TrialUserAttributeModel, "key", "value_json")
        system = of_each(models.TrialSystemAttributeModel, "key", "value_json")
        return [
            FrozenTrial(
                number=row.number, state=row.state, value=None, trial_id=number,
                datetime_start=row.datetime_start, datetime_complete=row.datetime_complete,  # in local time
                values=[value.stored_repr_to_value(*stored) for _, *stored in sorted(values[number])] or None,
                params={name: _axis(axis).to_external_repr(stored) for name, stored, axis in params[number]},
                distributions={name: _axis(axis) for name, _, axis in params[number]},
                user_attrs={key: json.loads(text) for key, text in user[number]},
                system_attrs={key: json.loads(text) for key, text in system[number]},
                intermediate_values={
                    step: rung.stored_repr_to_intermediate_value(*stored) for step, *stored in rungs[number]
                },
            )
            for number, row in ((row.trial_id, row) for row in rows)
        ]  # fmt: skip
