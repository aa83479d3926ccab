"""Check the content of a store row by row, where other commands stop at the first thing that they cannot read."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hpo.errors import StoreError
from hpo.store.attribute_checks import STUDY_CHECKS, STUDY_MARK, TRIAL_CHECKS, TRIAL_MARK, Check, find_malformed
from hpo.store.outages import describe_driver_error
from hpo.store.sqlite_access import connect_read_only
from hpo.store.sqlite_reader import SCHEMA_VERSION
from hpo.study.storage_url import StorageUrl

RESTORE = "restore the store from a backup"
_MAX_PROBLEMS = 5  # that integrity_check reports
_Query = Callable[[str], Sequence[Sequence[Any]]]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or left over, and what to do about it."""

    place: str
    problem: str
    remedy: str
    is_damage: bool = True  # False: nothing is lost, and the next command deals with it

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}; {self.remedy}"


@dataclass
class StoredRow:
    """A stored trial or final run, as far as it could be read."""

    study: str
    number: int
    state: str
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"trial {self.number} of study {self.study!r}"


@dataclass
class StoreContent:
    """What a store holds, and what is wrong with it."""

    studies: dict[str, dict[str, Any]] = field(default_factory=dict)  # name -> its attributes
    rows: list[StoredRow] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def check_store(url: StorageUrl) -> StoreContent:
    """Read all of a store without changing it, and check it. Raises StoreError if a server cannot be reached."""
    content = StoreContent()
    try:
        with _connect(url) as query:
            if url.file:
                _check_integrity(url, query, content)
            _check_schema(url, query, content)
            _read_content(query, content)
    except sqlite3.Error as error:
        content.findings.append(Finding(str(url), f"cannot be read: {error}", _recovery(url)))
    return content


@contextmanager
def _connect(url: StorageUrl) -> Iterator[_Query]:
    if url.file:
        with connect_read_only(url.file) as connection:
            # Texts that are not UTF-8 are damaged too, and must not stop the check.
            connection.text_factory = lambda raw: raw.decode("utf8", errors="replace")
            yield lambda statement: connection.execute(statement).fetchall()
        return
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    try:
        with sqlalchemy.create_engine(url.connection, poolclass=NullPool).connect() as server:
            yield lambda statement: server.execute(sqlalchemy.text(statement)).fetchall()
    except (ImportError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise StoreError(f"storage {url} cannot be read: {describe_driver_error(error)}") from None


def _check_integrity(url: StorageUrl, query: _Query, content: StoreContent) -> None:
    for (line,) in query(f"PRAGMA integrity_check({_MAX_PROBLEMS})"):
        if line != "ok":
            content.findings.append(Finding(str(url), f"SQLite says: {' '.join(str(line).split())}", _recovery(url)))


def _recovery(url: StorageUrl) -> str:
    return f"{RESTORE}, or save what is left: sqlite3 {url.file} .recover | sqlite3 recovered.db"


def _check_schema(url: StorageUrl, query: _Query, content: StoreContent) -> None:
    versions = [version for (version,) in query("SELECT version_num FROM alembic_version")]
    if versions != [SCHEMA_VERSION]:
        problem = f"its tables have version {', '.join(map(str, versions)) or 'none'}, Optuna's are {SCHEMA_VERSION}"
        content.findings.append(Finding(str(url), problem, "run `optuna storage upgrade` on a copy"))


def _read_content(query: _Query, content: StoreContent) -> None:
    names = {study_id: str(name) for study_id, name in query("SELECT study_id, study_name FROM studies")}
    content.studies = {name: {} for name in names.values()}
    for study_id, key, text in query("SELECT study_id, key, value_json FROM study_user_attributes"):
        if study_id in names:
            name = names[study_id]
            _read_attribute(content, f"study {name!r}", content.studies[name], key, text)
    rows = {
        trial_id: StoredRow(names[study_id], number, state)
        for trial_id, study_id, number, state in query("SELECT trial_id, study_id, number, state FROM trials")
        if study_id in names
    }
    content.rows = list(rows.values())
    for table in ("user", "system"):
        for trial_id, key, text in query(f"SELECT trial_id, key, value_json FROM trial_{table}_attributes"):
            if (row := rows.get(trial_id)) is not None:
                _read_attribute(content, str(row), getattr(row, f"{table}_attrs"), key, text)
    with_value = {trial_id for (trial_id,) in query("SELECT trial_id FROM trial_values")}
    _check_forms(content)
    _check_trials(content, [row for trial_id, row in rows.items() if trial_id not in with_value])


def _read_attribute(content: StoreContent, place: str, attributes: dict[str, Any], key: str, text: str) -> None:
    try:
        attributes[key] = json.loads(text)
    except (ValueError, TypeError):
        content.findings.append(Finding(place, f"attribute {key!r} is not JSON", RESTORE))


def _check_forms(content: StoreContent) -> None:
    owners: list[tuple[str, Mapping[str, Any], Mapping[str, Check], str]] = [
        (f"study {name!r}", attributes, STUDY_CHECKS, STUDY_MARK) for name, attributes in content.studies.items()
    ]
    owners += [(str(row), row.user_attrs, TRIAL_CHECKS, TRIAL_MARK) for row in content.rows]
    for place, attributes, checks, mark in owners:
        if key := find_malformed(attributes, checks, mark):
            content.findings.append(Finding(place, f"attribute {key!r} has a wrong form", RESTORE))
    for name, attributes in content.studies.items():
        if STUDY_MARK in attributes:
            for key in ("identity", "data"):
                if key not in attributes:
                    content.findings.append(Finding(f"study {name!r}", f"attribute {key!r} is missing", RESTORE))


def _check_trials(content: StoreContent, without_value: Sequence[StoredRow]) -> None:
    """Find trials that lack a number or a value."""
    for name in content.studies:
        numbers = Counter(row.number for row in content.rows if row.study == name)
        if set(numbers) != set(range(len(numbers))) or max(numbers.values(), default=1) > 1:
            problem = "the numbers of its trials are not 0, 1, 2, ..."
            content.findings.append(Finding(f"study {name!r}", problem, RESTORE))
    for row in without_value:
        if row.state == "COMPLETE":
            content.findings.append(Finding(str(row), "is complete and has no value", RESTORE))
