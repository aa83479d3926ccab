"""A look into a store that is an SQLite file: what is told of a study, without Optuna, whose start takes a second."""

from __future__ import annotations

import gc
import json
import math
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hpo.store.trial_state import TrialView

SCHEMA_VERSION = "v3.2.0.a"  # as Optuna numbers the layout of its tables; any other is for Optuna itself to read
StateName = Enum("StateName", ["RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING"])
# Attributes by which trials are ranked and counted; of others, only those of trials that are shown are read.
SUMMARY_ATTRIBUTES = ("seconds", "reason", "retry_of", "kills", "steps", "examples")
LOCK_TIMEOUT = 60  # seconds that a reader waits for SQLite's lock
# No number of SQL is infinite, so that Optuna keeps in another column which of them a value is.
_NUMBER = "CASE {0}_type WHEN 'INF_POS' THEN 9e999 WHEN 'INF_NEG' THEN -9e999 ELSE {0} END"
_VALUE, _RUNG_VALUE = _NUMBER.format("value"), _NUMBER.format("intermediate_value")
_OF_TRIALS = "FROM {0} JOIN trials USING (trial_id) WHERE study_id = ?"
ReadResult = TypeVar("ReadResult")
RankTrials = Callable[[Sequence[TrialView], Sequence[str]], list[TrialView]]


@dataclass
class StoredTrial:
    """A trial as far as it was looked at; times are aware of their zone."""

    number: int
    state: StateName
    datetime_start: datetime | None
    values: list[float] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    intermediate_values: dict[int, float] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)


@dataclass
class StudySnapshot:
    """A study as far as it is told of."""

    name: str
    attributes: Mapping[str, Any]
    directions: list[str]  # maximize or minimize, per objective
    objectives: list[str]
    trials: list[TrialView]  # ranked
    front: list[int] | None = None  # where there are several objectives, the trials that no other beats in all


@dataclass
class StudySummary:
    """A line on a study."""

    name: str
    attributes: Mapping[str, Any]
    directions: int
    trials: int
    best: float | None  # of a study with one objective
    started: datetime | None


def read_study(url: str, name: str, rank: RankTrials, most: int | None = None) -> StudySnapshot | None:
    """A study that hpo made, or None where it takes Optuna to read it, or to say what is wrong.

    Trials are in the order of `rank(trials, directions)`. With `most`, only so many of the first are whole; the others
    have what trials are counted and ranked by.
    """
    return _read(url, lambda store: _glance(store, name, rank, most))


def read_summaries(url: str) -> list[StudySummary] | None:
    """Every study in a store, by name; None where it takes Optuna to read it, or to say what is wrong."""
    query = "SELECT study_id, study_name FROM studies ORDER BY study_name"
    return _read(url, lambda store: [_summary(store, *study) for study in store.execute(query).fetchall()])


@contextmanager
def gc_paused() -> Iterator[None]:
    """Nothing of what is read is garbage yet, and looking for some takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(url: str, reading: Callable[[sqlite3.Connection], ReadResult | None]) -> ReadResult | None:
    """What is read of a store at one moment, or None where it is no SQLite file with tables as they are known."""
    match = re.fullmatch(r"sqlite:///([^?]+)", url)
    if match is None or not Path(match[1]).is_file():
        return None
    file = Path(match[1]).resolve().as_uri()
    try:
        with closing(sqlite3.connect(f"{file}?mode=ro", uri=True, timeout=LOCK_TIMEOUT, isolation_level=None)) as store:
            store.execute("BEGIN")
            known = store.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA_VERSION,)]
            with gc_paused():
                return reading(store) if known else None
    except (sqlite3.Error, KeyError, ValueError):
        return None


def _glance(store: sqlite3.Connection, name: str, rank: RankTrials, most: int | None) -> StudySnapshot | None:
    found = store.execute("SELECT study_id FROM studies WHERE study_name = ?", (name,)).fetchone()
    if found is None:
        return None
    (study,) = found
    attributes, directions = _attributes(store, study), _directions(store, study)
    if "spec" not in attributes or len(directions) > 1:
        return None
    made = _trials(store, study)
    trials = rank(list(made.values()), directions)
    _read_whole(store, study, made, {trial.number for trial in trials[:most]})
    return StudySnapshot(name, attributes, directions, [attributes["spec"]["objective"]], trials)


def _summary(store: sqlite3.Connection, study: int, name: str) -> StudySummary:
    directions = _directions(store, study)
    query = "SELECT COUNT(*), MIN(datetime_start) FROM trials WHERE study_id = ?"
    ((trials, started),) = store.execute(query, (study,))
    best = "MAX" if directions == ["maximize"] else "MIN"
    of_complete = _OF_TRIALS.format("trial_values") + " AND state = 'COMPLETE'"
    ((value,),) = store.execute(f"SELECT {best}({_VALUE}) {of_complete}", (study,))
    return StudySummary(
        name,
        _attributes(store, study),
        len(directions),
        trials,
        value if len(directions) == 1 else None,
        _local(started),
    )


def _attributes(store: sqlite3.Connection, study: int) -> dict[str, Any]:
    query = "SELECT key, value_json FROM study_user_attributes WHERE study_id = ?"
    return {key: json.loads(text) for key, text in store.execute(query, (study,))}


def _directions(store: sqlite3.Connection, study: int) -> list[str]:
    query = "SELECT direction FROM study_directions WHERE study_id = ? ORDER BY objective"
    return [direction.lower() for (direction,) in store.execute(query, (study,))]


def _trials(store: sqlite3.Connection, study: int) -> dict[int, StoredTrial]:
    """Trial id -> the trial with what it is counted and ranked by."""
    query = "SELECT trial_id, number, state, datetime_start FROM trials WHERE study_id = ? ORDER BY number"
    made = {
        number: StoredTrial(place, StateName[state], _local(started))
        for number, place, state, started in store.execute(query, (study,))
    }
    for number, value in store.execute(f"SELECT trial_id, {_VALUE} {_OF_TRIALS.format('trial_values')}", (study,)):
        made[number].values = [value]
    # By its planned steps, which are among the effective values, it is told what pruning saved.
    wanted = f"(key IN {SUMMARY_ATTRIBUTES} OR key = 'effective' AND state = 'PRUNED')"
    _read_attributes(store, study, made, wanted)
    return made


def _read_whole(store: sqlite3.Connection, study: int, made: Mapping[int, StoredTrial], numbers: set[int]) -> None:
    """Read values, rungs and all attributes of the trials with these numbers."""
    chosen = "1" if len(numbers) == len(made) else f"number IN ({', '.join(map(str, numbers))})"
    query = "SELECT trial_id, param_name, param_value, distribution_json " + _OF_TRIALS.format("trial_params")
    for number, name, value, axis in store.execute(f"{query} AND {chosen} ORDER BY param_id", (study,)):
        made[number].params[name] = _sampled(axis)(value)
    query = f"SELECT trial_id, step, {_RUNG_VALUE} " + _OF_TRIALS.format("trial_intermediate_values")
    for number, step, value in store.execute(f"{query} AND {chosen}", (study,)):
        made[number].intermediate_values[step] = math.nan if value is None else value
    _read_attributes(store, study, made, chosen)


def _read_attributes(store: sqlite3.Connection, study: int, made: Mapping[int, StoredTrial], wanted: str) -> None:
    query = "SELECT trial_id, key, value_json " + _OF_TRIALS.format("trial_user_attributes")
    for number, key, text in store.execute(f"{query} AND {wanted}", (study,)):
        made[number].user_attrs[key] = json.loads(text)


def _local(stored: str | None) -> datetime | None:
    """A time of the store, which is UTC."""
    return datetime.fromisoformat(stored).replace(tzinfo=UTC).astimezone() if stored else None


@cache
def _sampled(axis: str) -> Callable[[float], Any]:
    """What makes a value of an axis out of the number that is stored. Raises KeyError for an unknown kind of axis."""
    told = json.loads(axis)
    kinds: dict[str, Callable[[float], Any]] = {
        "FloatDistribution": float,
        "IntDistribution": int,
        "CategoricalDistribution": lambda place: told["attributes"]["choices"][int(place)],
    }
    return kinds[told["name"]]
