"""A glance at a store tells what Optuna's own reading tells, of one study and of all, and leaves it the rest."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.results.study_status import list_rows, rank_trials, read_all_studies, read_status, study_status
from hpo.store.sqlite_reader import SCHEMA_VERSION, StudySnapshot, read_study, read_summaries
from hpo.store.storage import default_storage_url, list_studies, load_stored_study, open_storage, storage_url
from hpo.study.spec import StudySpec
from tests.support import synthetic

SORTS: list[dict[str, Any]] = [{"unfinished": True}, {"objective": "log_loss", "parameters": 8}, {"pruned": True}]


def look(spec: StudySpec, most: int | None = None) -> StudySnapshot | None:
    return read_study(storage_url(spec), spec.name, rank_trials, most)


def content(folder: Path) -> dict[str, bytes]:
    """What a store holds; SQLite notes its readers in a third file."""
    return {name: (folder / name).read_bytes() for name in ("store.db", "store.db-wal") if (folder / name).exists()}


@pytest.mark.parametrize("sort", SORTS)
def test_it_tells_what_optuna_tells(tmp_path: Path, sort: dict[str, Any]) -> None:
    spec = synthetic.make(tmp_path, 60, final=False, **sort)
    before = content(tmp_path)
    seen, most = look(spec), look(spec, most=7)
    every = read_summaries(storage_url(spec))
    assert content(tmp_path) == before
    assert seen and most and every
    stored = load_stored_study(spec, storage_url(spec))
    whole = study_status(stored)
    assert study_status(seen) == whole and len(whole["trials"]) == 60
    few = study_status(most, 7)
    assert few == study_status(stored, 7) and few["trials"][:7] == whole["trials"][:7]
    assert few["trials"][7:] == [{name: row[name] for name in few["trials"][7]} for row in whole["trials"][7:]]
    told = list_rows(list_studies(open_storage(storage_url(spec))))
    assert list_rows(every) == told and told[0]["trials"] == 60


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 4, final=False)
    study = load_stored_study(spec, storage_url(spec))
    for value in (float("inf"), float("-inf")):
        study.add_trial(optuna.trial.create_trial(value=value, intermediate_values={250: float("nan")}))
    seen, every = look(spec), read_summaries(storage_url(spec))
    assert seen and every and every[0].best == float("inf")
    assert [seen.trials[0].values, seen.trials[0].number] == [[float("inf")], 4]
    assert study_status(seen)["trials"] == study_status(study)["trials"]


def test_what_hpo_did_not_make_is_left_to_optuna(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 5, foreign=True)
    assert look(spec) is None
    assert read_status(spec, storage_url(spec)) == study_status(load_stored_study(spec, storage_url(spec)))
    optuna.create_study(study_name="empty", storage=open_storage(storage_url(spec)))
    told = list_rows(list_studies(open_storage(storage_url(spec))))
    assert read_all_studies(storage_url(spec)) == told and [row["objective"] for row in told] == ["", "2 objectives"]


def test_tables_that_are_not_known_are_left_to_optuna(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 3, final=False)
    url = storage_url(spec)
    assert read_study("postgresql://host/base", spec.name, rank_trials) is None
    assert read_study(url, "another", rank_trials) is None
    assert read_summaries(f"sqlite:///{tmp_path}/none.db") is None and not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("no database")
    assert read_summaries(f"sqlite:///{tmp_path}/text.db") is None
    with sqlite3.connect(tmp_path / "store.db") as changed:
        changed.execute("UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    assert look(spec) is None and read_summaries(url) is None


def test_the_tables_are_those_of_the_installed_optuna(tmp_path: Path) -> None:
    storage: Any = open_storage(default_storage_url(tmp_path))
    assert storage.get_head_version() == SCHEMA_VERSION
