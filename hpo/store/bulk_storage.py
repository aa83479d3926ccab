"""Trials in seven queries: Optuna makes an object of every value first, which takes five times as long."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Container, Sequence
from functools import cache
from typing import Any

from optuna.distributions import json_to_distribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, Select, bindparam, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from hpo.store.sqlite_reader import gc_paused

MAX_TRIAL_IDS = 500  # trials that are asked for by their ids; a database takes no endless list
_axis = cache(json_to_distribution)
_trial = models.TrialModel
_WANTED = (
    _trial.study_id == bindparam("study"),
    or_(_trial.trial_id > bindparam("after"), _trial.trial_id.in_(bindparam("beside", expanding=True))),
)
_TRIALS = select(_trial).where(*_WANTED).order_by(_trial.trial_id)


class BulkStorage(RDBStorage):
    """RDBStorage that reads trials in a query per table."""

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        if states is not None or len(included_trial_ids) > MAX_TRIAL_IDS:
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        try:
            with gc_paused():
                return read_trials(self.engine, study_id, trial_id_greater_than, included_trial_ids)
        except SQLAlchemyError as error:
            raise StorageInternalError(str(error)) from error


def read_trials(engine: Engine, study_id: int, after: int = -1, beside: Collection[int] = ()) -> list[FrozenTrial]:
    """Every trial of a study whose id is above `after` or `beside`, as Optuna's own reading gives them.

    Raises KeyError where there is no such study.
    """
    asked = {"study": study_id, "after": after, "beside": list(beside)}
    with Session(engine) as session:
        rows: Sequence[Any] = session.scalars(_TRIALS, asked).all()
        if not rows:
            models.StudyModel.find_or_raise_by_id(study_id, session)
            return []
        connection = session.connection()

        def of_each(model: Any, *names: str) -> dict[int, list[Any]]:
            """Trial id -> its rows in another table, in the order in which they were written."""
            found: dict[int, list[Any]] = defaultdict(list)
            for number, *row in connection.execute(_rows(model, names), asked):
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
                number=row.number,
                state=row.state,
                value=None,
                trial_id=number,
                datetime_start=row.datetime_start,
                datetime_complete=row.datetime_complete,  # in local time
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
        ]


@cache
def _rows(model: Any, names: tuple[str, ...]) -> Select[Any]:
    """The rows of another table that belong to the trials asked for; made once, as it takes longer than to ask."""
    table = model.__table__
    (written,) = table.primary_key.columns
    query = select(table.c.trial_id, *(table.c[name] for name in names))
    return query.join(_trial, _trial.trial_id == table.c.trial_id).where(*_WANTED).order_by(written)
