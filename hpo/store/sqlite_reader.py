"""Read studies directly from an SQLite store, without the one-second import of Optuna.

It covers what `hpo show` displays of studies that hpo created. All other cases return None, and the caller reads the
store with Optuna instead: another kind of database, another version of Optuna's tables, any error.
"""

from __future__ import annotations

import gc
import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from hpo.store.attribute_checks import STUDY_CHECKS, STUDY_MARK, TRIAL_CHECKS, Check, find_malformed
from hpo.store.sqlite_access import connect_read_only
from hpo.store.study_record import StudyRecord, companion_name
from hpo.store.trial_record import PRUNED_SUMMARY_KEY, SUMMARY_KEYS
from hpo.store.trial_state import TrialView
from hpo.study.storage_url import StorageUrl

SCHEMA_VERSION = "v3.2.0.a"  # Optuna's number for the layout of its tables
StateName = Enum("StateName", ["RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING"])
# SQL has no infinite numbers, so Optuna stores in a second column whether a value is one.
_NUMBER = "CASE {0}_type WHEN 'INF_POS' THEN 9e999 WHEN 'INF_NEG' THEN -9e999 ELSE {0} END"
_VALUE, _RUNG_VALUE = _NUMBER.format("value"), _NUMBER.format("intermediate_value")
_FROM_TABLE = "FROM {0} JOIN trials USING (trial_id) WHERE study_id = ?"
_Result = TypeVar("_Result")
RankTrials = Callable[[Sequence[TrialView], Sequence[str]], list[TrialView]]


@dataclass
class StoredTrial:
    """A trial with the parts that were read; times have their time zone."""

    number: int
    state: StateName
    datetime_start: datetime | None
    values: list[float] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    intermediate_values: dict[int, float] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)


@dataclass
class StudySnapshot:
    """A study and its trials at one moment."""

    name: str
    attributes: Mapping[str, Any]
    directions: list[str]  # maximize or minimize, per objective
    objectives: list[str]
    trials: list[TrialView]  # ranked
    front: list[int] | None = None  # numbers of the Pareto-optimal trials, if there are several objectives
    last_complete: datetime | None = None  # when the last complete trial ended
    companion: Mapping[str, Any] = field(default_factory=dict)  # attributes of the study of the final runs


@dataclass
class StudySummary:
    """One study in the list of all studies of a store."""

    name: str
    attributes: Mapping[str, Any]
    directions: int
    trials: int
    best: float | None  # for a single objective
    started: datetime | None


def read_study(url: str, name: str, rank: RankTrials, most: int | None = None) -> StudySnapshot | None:
    """Read a study that hpo created, or return None if Optuna must read it.

    Trials are in the order of `rank(trials, directions)`. With `most`, only so many of the first are read completely;
    the others have what trials are counted and ranked by.
    """
    return _read(url, lambda store: _read_snapshot(store, name, rank, most))


def read_summaries(url: str) -> list[StudySummary] | None:
    """Read a summary of every study in a store, by name, or return None if Optuna must read it."""
    query = "SELECT study_id, study_name FROM studies ORDER BY study_name"
    return _read(url, lambda store: [_read_summary(store, *row) for row in store.execute(query).fetchall()])


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector: while trials are read it takes a third of the time and collects nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(url: str, read: Callable[[sqlite3.Connection], _Result | None]) -> _Result | None:
    """Call `read` within one read transaction; return None if this is no SQLite file with the expected tables."""
    file = StorageUrl.parse(url).file
    if file is None or not file.is_file():
        return None
    try:
        with connect_read_only(file) as store:
            store.execute("BEGIN")
            if store.execute("SELECT version_num FROM alembic_version").fetchall() != [(SCHEMA_VERSION,)]:
                return None
            with gc_paused():
                return read(store)
    except (sqlite3.Error, OSError, KeyError, ValueError):
        return None


def _read_snapshot(store: sqlite3.Connection, name: str, rank: RankTrials, most: int | None) -> StudySnapshot | None:
    row = store.execute("SELECT study_id FROM studies WHERE study_name = ?", (name,)).fetchone()
    if row is None:
        return None
    (study_id,) = row
    attributes, directions = _read_study_attributes(store, study_id), _read_directions(store, study_id)
    objective = StudyRecord.from_attributes(attributes).objective
    if objective is None or len(directions) > 1:
        return None
    trials = _read_trial_summaries(store, study_id)
    ranked = rank(list(trials.values()), directions)
    _complete_trials(store, study_id, trials, {trial.number for trial in ranked[:most]})
    query = "SELECT MAX(datetime_complete) FROM trials WHERE study_id = ? AND state = 'COMPLETE'"
    ((last_complete,),) = store.execute(query, (study_id,))
    query = "SELECT study_id FROM studies WHERE study_name = ?"
    companion = store.execute(query, (companion_name(name),)).fetchone()
    return StudySnapshot(
        name,
        attributes,
        directions,
        [objective],
        ranked,
        last_complete=_parse_time(last_complete),
        companion=_read_study_attributes(store, *companion) if companion else {},
    )


def _read_summary(store: sqlite3.Connection, study_id: int, name: str) -> StudySummary:
    directions = _read_directions(store, study_id)
    query = "SELECT COUNT(*), MIN(datetime_start) FROM trials WHERE study_id = ?"
    ((trials, started),) = store.execute(query, (study_id,))
    best = "MAX" if directions == ["maximize"] else "MIN"
    from_complete = _FROM_TABLE.format("trial_values") + " AND state = 'COMPLETE'"
    ((value,),) = store.execute(f"SELECT {best}({_VALUE}) {from_complete}", (study_id,))
    return StudySummary(
        name,
        _read_study_attributes(store, study_id),
        len(directions),
        trials,
        value if len(directions) == 1 else None,
        _parse_time(started),
    )


def _read_study_attributes(store: sqlite3.Connection, study_id: int) -> dict[str, Any]:
    query = "SELECT key, value_json FROM study_user_attributes WHERE study_id = ?"
    attributes = {key: json.loads(text) for key, text in store.execute(query, (study_id,))}
    return _check_form(attributes, STUDY_CHECKS, STUDY_MARK)


def _check_form(attributes: dict[str, Any], checks: Mapping[str, Check], mark: str | None) -> dict[str, Any]:
    """Return the attributes. Raises ValueError, so that Optuna reads the store and says what is damaged."""
    if name := find_malformed(attributes, checks, mark):
        raise ValueError(name)
    return attributes


def _read_directions(store: sqlite3.Connection, study_id: int) -> list[str]:
    query = "SELECT direction FROM study_directions WHERE study_id = ? ORDER BY objective"
    return [direction.lower() for (direction,) in store.execute(query, (study_id,))]


def _read_trial_summaries(store: sqlite3.Connection, study_id: int) -> dict[int, StoredTrial]:
    """Return trial id -> the trial, with what trials are counted and ranked by."""
    query = "SELECT trial_id, number, state, datetime_start FROM trials WHERE study_id = ? ORDER BY number"
    trials = {
        trial_id: StoredTrial(number, StateName[state], _parse_time(started))
        for trial_id, number, state, started in store.execute(query, (study_id,))
    }
    query = f"SELECT trial_id, {_VALUE} {_FROM_TABLE.format('trial_values')}"
    for trial_id, value in store.execute(query, (study_id,)):
        trials[trial_id].values = [value]
    wanted = f"(key IN {SUMMARY_KEYS} OR key = '{PRUNED_SUMMARY_KEY}' AND state = 'PRUNED')"
    _read_trial_attributes(store, study_id, trials, wanted)
    return trials


def _complete_trials(
    store: sqlite3.Connection, study_id: int, trials: Mapping[int, StoredTrial], numbers: set[int]
) -> None:
    """Read values, rungs and all attributes of the trials with these numbers."""
    chosen = "1" if len(numbers) == len(trials) else f"number IN ({', '.join(map(str, numbers))})"
    query = "SELECT trial_id, param_name, param_value, distribution_json " + _FROM_TABLE.format("trial_params")
    for trial_id, name, value, distribution in store.execute(f"{query} AND {chosen} ORDER BY param_id", (study_id,)):
        trials[trial_id].params[name] = _value_decoder(distribution)(value)
    query = f"SELECT trial_id, step, {_RUNG_VALUE} " + _FROM_TABLE.format("trial_intermediate_values")
    for trial_id, step, value in store.execute(f"{query} AND {chosen}", (study_id,)):
        trials[trial_id].intermediate_values[step] = math.nan if value is None else value
    _read_trial_attributes(store, study_id, trials, chosen)


def _read_trial_attributes(
    store: sqlite3.Connection, study_id: int, trials: Mapping[int, StoredTrial], condition: str
) -> None:
    query = "SELECT trial_id, key, value_json " + _FROM_TABLE.format("trial_user_attributes")
    for trial_id, key, text in store.execute(f"{query} AND {condition}", (study_id,)):
        trials[trial_id].user_attrs[key] = json.loads(text)
    for trial in trials.values():
        _check_form(trial.user_attrs, TRIAL_CHECKS, None)  # the mark is not read with a summary


def _parse_time(stored: str | None) -> datetime | None:
    """Return a time of the store, which is in UTC, in the local time zone."""
    return datetime.fromisoformat(stored).replace(tzinfo=UTC).astimezone() if stored else None


@cache
def _value_decoder(distribution: str) -> Callable[[float], Any]:
    """Return what turns the stored number of a parameter into its value.

    Raises KeyError for an unknown kind of distribution, which makes the caller read the store with Optuna.
    """
    content = json.loads(distribution)
    decoders: dict[str, Callable[[float], Any]] = {
        "FloatDistribution": float,
        "IntDistribution": int,
        "CategoricalDistribution": lambda index: content["attributes"]["choices"][int(index)],
    }
    return decoders[content["name"]]
