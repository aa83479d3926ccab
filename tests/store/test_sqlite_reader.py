"""The SQLite reader returns what reading with Optuna returns, and leaves all other cases to Optuna."""

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

OPTIONS: list[dict[str, Any]] = [{"unfinished": True}, {"objective": "log_loss", "parameters": 8}, {"pruned": True}]


def read(spec: StudySpec, most: int | None = None) -> StudySnapshot | None:
    return read_study(storage_url(spec), spec.name, rank_trials, most)


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of a store, without an empty log and the third file, in which SQLite registers readers."""
    files = {name: folder / name for name in ("store.db", "store.db-wal")}
    return {name: file.read_bytes() for name, file in files.items() if file.exists() and file.stat().st_size}


@pytest.mark.parametrize("options", OPTIONS)
def test_the_status_equals_the_one_read_with_optuna(tmp_path: Path, options: dict[str, Any]) -> None:
    spec = synthetic.make(tmp_path, 60, final=False, **options)
    before = read_files(tmp_path)
    complete, partial = read(spec), read(spec, most=7)
    summaries = read_summaries(storage_url(spec))
    assert read_files(tmp_path) == before
    assert complete and partial and summaries
    stored = load_stored_study(spec, storage_url(spec))
    status = study_status(stored)
    assert study_status(complete) == status and len(status.trials) == 60
    short = study_status(partial, 7)
    assert short == study_status(stored, 7) and short.trials[:7] == status.trials[:7]
    for row, full in zip(short.trials[7:], status.trials[7:], strict=True):
        assert (row.trial, row.outcome, row.value, row.reason) == (full.trial, full.outcome, full.value, full.reason)
    expected = list_rows(list_studies(open_storage(storage_url(spec))))
    assert list_rows(summaries) == expected and expected[0].trials == 60


def test_infinite_values_are_read(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 4, final=False)
    study = load_stored_study(spec, storage_url(spec))
    for value in (float("inf"), float("-inf")):
        study.add_trial(optuna.trial.create_trial(value=value, intermediate_values={250: float("nan")}))
    snapshot, summaries = read(spec), read_summaries(storage_url(spec))
    assert snapshot and summaries and summaries[0].best == float("inf")
    assert [snapshot.trials[0].values, snapshot.trials[0].number] == [[float("inf")], 4]
    assert repr(study_status(snapshot).trials) == repr(study_status(study).trials)


def test_a_study_of_another_program_is_left_to_optuna(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 5, foreign=True)
    assert read(spec) is None
    assert read_status(spec, storage_url(spec)) == study_status(load_stored_study(spec, storage_url(spec)))
    optuna.create_study(study_name="empty", storage=open_storage(storage_url(spec)))
    rows = list_rows(list_studies(open_storage(storage_url(spec))))
    assert read_all_studies(storage_url(spec)) == rows and [row.objective for row in rows] == ["", "2 objectives"]


def test_other_databases_and_tables_are_left_to_optuna(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 3, final=False)
    url = storage_url(spec)
    assert read_study("postgresql://host/base", spec.name, rank_trials) is None
    assert read_study(url, "another", rank_trials) is None
    assert read_summaries(f"sqlite:///{tmp_path}/none.db") is None and not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("no database")
    assert read_summaries(f"sqlite:///{tmp_path}/text.db") is None
    with sqlite3.connect(tmp_path / "store.db") as changed:
        changed.execute("UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    assert read(spec) is None and read_summaries(url) is None


def test_the_schema_version_is_that_of_the_installed_optuna(tmp_path: Path) -> None:
    storage: Any = open_storage(default_storage_url(tmp_path))
    assert storage.get_head_version() == SCHEMA_VERSION
