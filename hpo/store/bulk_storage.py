"""An RDBStorage that reads all trials of a study in seven queries.

Optuna's own reading goes through the object-relational mapper, which makes an object of every parameter, value and
attribute and takes five times as long. Samplers and pruners read all trials for every trial and rung.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Container, Mapping, Sequence
from functools import cache
from typing import Any

from optuna.distributions import json_to_distribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, Select, bindparam, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from hpo.store.attribute_checks import TRIAL_CHECKS, TRIAL_MARK, find_malformed
from hpo.store.outages import DamagedError
from hpo.store.sqlite_reader import gc_paused

MAX_TRIAL_IDS = 500  # databases limit the number of parameters of a query, so longer lists of ids are left to Optuna
_parse_distribution = cache(json_to_distribution)
_trial = models.TrialModel
_CONDITION = (
    _trial.study_id == bindparam("study"),
    or_(_trial.trial_id > bindparam("after"), _trial.trial_id.in_(bindparam("included", expanding=True))),
)
_SELECT_TRIALS = select(_trial).where(*_CONDITION).order_by(_trial.trial_id)
_Rows = Mapping[int, list[Any]]  # trial id -> its rows in one table, in the order in which they were written


class BulkStorage(RDBStorage):
    """RDBStorage that reads trials with one query per table."""

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


def read_trials(engine: Engine, study_id: int, after: int = -1, included: Collection[int] = ()) -> list[FrozenTrial]:
    """Return the trials of a study whose id is above `after` or in `included`, equal to what Optuna's reading returns.

    Raises KeyError if there is no such study.
    """
    arguments = {"study": study_id, "after": after, "included": list(included)}
    with Session(engine) as session:
        trials: Sequence[Any] = session.scalars(_SELECT_TRIALS, arguments).all()
        if not trials:
            models.StudyModel.find_or_raise_by_id(study_id, session)
            return []
        connection = session.connection()

        def read_table(model: Any, *columns: str) -> _Rows:
            return _group_rows(connection, _select_rows(model, columns), arguments)

        tables = {
            "params": read_table(models.TrialParamModel, "param_name", "param_value", "distribution_json"),
            "values": read_table(models.TrialValueModel, "objective", "value", "value_type"),
            "rungs": read_table(
                models.TrialIntermediateValueModel, "step", "intermediate_value", "intermediate_value_type"
            ),
            "user": read_table(models.TrialUserAttributeModel, "key", "value_json"),
            "system": read_table(models.TrialSystemAttributeModel, "key", "value_json"),
        }
        return [_read_trial(trial, {name: rows[trial.trial_id] for name, rows in tables.items()}) for trial in trials]


def _read_trial(trial: Any, rows: Mapping[str, list[Any]]) -> FrozenTrial:
    """Return a trial. Raises DamagedError if its rows are damaged."""
    try:
        read = _build_trial(trial, rows)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise DamagedError(f"trial {trial.number} cannot be read ({type(error).__name__}: {error})") from error
    if name := find_malformed(read.user_attrs, TRIAL_CHECKS, TRIAL_MARK):
        raise DamagedError(f"attribute {name!r} of trial {trial.number} has a wrong form")
    return read


def _build_trial(trial: Any, rows: Mapping[str, list[Any]]) -> FrozenTrial:
    decode_value = models.TrialValueModel.stored_repr_to_value
    decode_rung = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
    distributions = {name: _parse_distribution(text) for name, _, text in rows["params"]}
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=None,
        trial_id=trial.trial_id,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,  # the model converts UTC to local time
        values=[decode_value(*stored) for _, *stored in sorted(rows["values"])] or None,
        params={name: distributions[name].to_external_repr(stored) for name, stored, _ in rows["params"]},
        distributions=distributions,
        user_attrs={key: json.loads(text) for key, text in rows["user"]},
        system_attrs={key: json.loads(text) for key, text in rows["system"]},
        intermediate_values={step: decode_rung(*stored) for step, *stored in rows["rungs"]},
    )


def _group_rows(connection: Connection, query: Select[Any], arguments: Mapping[str, Any]) -> _Rows:
    rows: dict[int, list[Any]] = defaultdict(list)
    for trial_id, *row in connection.execute(query, arguments):
        rows[trial_id].append(row)
    return rows


@cache
def _select_rows(model: Any, columns: tuple[str, ...]) -> Select[Any]:
    """Return the query for the rows of the chosen trials in a table. Building it takes longer than running it."""
    table = model.__table__
    (primary_key,) = table.primary_key.columns  # increases in the order of writing
    query = select(table.c.trial_id, *(table.c[name] for name in columns))
    return query.join(_trial, _trial.trial_id == table.c.trial_id).where(*_CONDITION).order_by(primary_key)
