"""A glance at a store tells what Optuna's own reading tells, of one study and of all, and leaves it the rest."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.output import status
from hpo.study import glance, store
from hpo.study.spec import StudySpec
from tests import synthetic

SORTS: list[dict[str, Any]] = [{"unfinished": True}, {"objective": "log_loss", "parameters": 8}, {"pruned": True}]


def look(spec: StudySpec, most: int | None = None) -> glance.Glance | None:
    return glance.look(store.url_of(spec), spec.name, status.ranked, most)


def content(folder: Path) -> dict[str, bytes]:
    """What a store holds; SQLite notes its readers in a third file."""
    return {name: (folder / name).read_bytes() for name in ("store.db", "store.db-wal") if (folder / name).exists()}


@pytest.mark.parametrize("sort", SORTS)
def test_it_tells_what_optuna_tells(tmp_path: Path, sort: dict[str, Any]) -> None:
    spec = synthetic.make(tmp_path, 60, final=False, **sort)
    before = content(tmp_path)
    seen, most = look(spec), look(spec, most=7)
    every = glance.summaries(store.url_of(spec))
    assert content(tmp_path) == before
    assert seen and most and every
    stored = store.stored(spec, store.url_of(spec))
    whole = status.study(stored)
    assert status.study(seen) == whole and len(whole["trials"]) == 60
    few = status.study(most, 7)
    assert few == status.study(stored, 7) and few["trials"][:7] == whole["trials"][:7]
    assert few["trials"][7:] == [{name: row[name] for name in few["trials"][7]} for row in whole["trials"][7:]]
    told = status.studies(store.summaries(store.open_storage(store.url_of(spec))))
    assert status.studies(every) == told and told[0]["trials"] == 60


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 4, final=False)
    study = store.stored(spec, store.url_of(spec))
    for value in (float("inf"), float("-inf")):
        study.add_trial(optuna.trial.create_trial(value=value, intermediate_values={250: float("nan")}))
    seen, every = look(spec), glance.summaries(store.url_of(spec))
    assert seen and every and every[0].best == float("inf")
    assert [seen.trials[0].values, seen.trials[0].number] == [[float("inf")], 4]
    assert status.study(seen)["trials"] == status.study(study)["trials"]


def test_what_hpo_did_not_make_is_left_to_optuna(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 5, foreign=True)
    assert look(spec) is None
    assert status.of(spec, store.url_of(spec)) == status.study(store.stored(spec, store.url_of(spec)))
    optuna.create_study(study_name="empty", storage=store.open_storage(store.url_of(spec)))
    told = status.studies(store.summaries(store.open_storage(store.url_of(spec))))
    assert status.every(store.url_of(spec)) == told and [row["objective"] for row in told] == ["", "2 objectives"]


def test_tables_that_are_not_known_are_left_to_optuna(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 3, final=False)
    url = store.url_of(spec)
    assert glance.look("postgresql://host/base", spec.name, status.ranked) is None
    assert glance.look(url, "another", status.ranked) is None
    assert glance.summaries(f"sqlite:///{tmp_path}/none.db") is None and not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("no database")
    assert glance.summaries(f"sqlite:///{tmp_path}/text.db") is None
    with sqlite3.connect(tmp_path / "store.db") as changed:
        changed.execute("UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    assert look(spec) is None and glance.summaries(url) is None


def test_the_tables_are_those_of_the_installed_optuna(tmp_path: Path) -> None:
    storage: Any = store.open_storage(store.default_url(tmp_path))
    assert storage.get_head_version() == glance.TABLES
