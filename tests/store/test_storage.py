"""The store: SQLite shared by many processes, a real PostgreSQL server, and studies that match their file."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy

from hpo.errors import StoreError, StudyError
from hpo.store.database import BUSY_TIMEOUT
from hpo.store.storage import (
    find_stored_study,
    open_storage,
    open_study,
    sqlite_file,
    storage_url,
)
from hpo.study.spec import load_study
from tests.support.postgresql import postgresql  # noqa: F401

DATA = {"fingerprint": "abc", "rows": {"train": 1}, "labels": ["no", "yes"]}


def test_sqlite_has_a_write_ahead_log_and_a_busy_timeout(tmp_path: Path) -> None:
    storage: Any = open_storage(f"sqlite:///{tmp_path}/store.db")
    with storage.engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sqlalchemy.text("PRAGMA busy_timeout")).scalar() == BUSY_TIMEOUT * 1000


def test_plain_optuna_can_read_the_store(small: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    created = open_study(open_storage(url), load_study(small), "maximize", {"data": DATA, "seed": 0})
    plain = optuna.load_study(study_name="small", storage=url)
    assert plain.direction == created.direction == optuna.study.StudyDirection.MAXIMIZE
    assert plain.metric_names == ["accuracy"]
    assert plain.user_attrs["spec"]["data"]["source"] == "builtin:reviews"


def test_a_changed_file_or_changed_data_raise_an_error_that_names_the_change(small: Path, tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/store.db")
    open_study(storage, load_study(small), "maximize", {"data": DATA})
    changed = load_study(small, ("training.num_train_epochs=2", "space.parameters.learning_rate.high=0.1"))
    with pytest.raises(StudyError) as caught:
        open_study(storage, changed, "maximize", {"data": DATA})
    assert "training.num_train_epochs: 1 -> 2" in str(caught.value)
    assert "space.parameters.learning_rate.high: 0.01 -> 0.1" in str(caught.value)
    with pytest.raises(StudyError, match="the data changed"):
        open_study(storage, load_study(small), "maximize", {"data": {**DATA, "fingerprint": "xyz"}})
    same = load_study(small, ("search.trials=99", "search.workers=4", "search.timeout=5"))
    assert open_study(storage, same, "maximize", {"data": DATA}).user_attrs["spec"]["search"]["trials"] == 99


def test_a_study_of_another_program_is_not_continued(small: Path, tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/store.db")
    foreign = optuna.create_study(storage=storage, study_name="small")
    foreign.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(StudyError, match="was not created by hpo"):
        open_study(storage, load_study(small), "maximize", {"data": DATA})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "is not a URL"),
        ("sqlite://", "a store in memory is lost"),
        ("sqlite:////no/such/folder/store.db", "no folder"),
        ("postgresql://me:secret@127.0.0.1:1/none", "cannot be opened"),
    ],
)
def test_a_store_that_cannot_be_opened_raises_an_error_without_the_password(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)


def test_reading_creates_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        open_storage(f"sqlite:///{tmp_path}/none.db", create=False)
    assert not (tmp_path / "none.db").exists()


def test_reading_does_not_change_a_database_of_another_program(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE notes (text)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(StoreError, match="no store at"):
        open_storage(f"sqlite:///{tmp_path}/other.db", create=False)
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_file_that_is_no_database_raises_an_error(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("this is no database, but long enough to be read as one" * 20)
    with pytest.raises(StoreError, match="not a database"):
        open_storage(f"sqlite:///{tmp_path}/store.db")


def test_a_relative_url_starts_at_the_file_or_at_the_current_folder(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small.parent.resolve()
    assert storage_url(load_study(small)) == f"sqlite:///{folder}/store.db"
    in_file = small.with_name("other.toml")
    in_file.write_text(f'storage = "sqlite:///other.db"\n{small.read_text()}')
    assert storage_url(load_study(in_file)) == f"sqlite:///{folder}/other.db"
    shell = tmp_path / "shell"
    shell.mkdir()
    monkeypatch.chdir(shell)
    typed = [storage_url(load_study(small, ("storage=sqlite:///mine.db",)))]
    typed.append(storage_url(load_study(small), "sqlite:///mine.db"))
    assert [(sqlite_file(url) or Path()).resolve() for url in typed] == [shell.resolve() / "mine.db"] * 2
    with pytest.raises(StoreError, match="a store in memory is lost"):
        open_storage(storage_url(load_study(small, ("storage='sqlite:///:memory:'",))))


def test_reading_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/store.db")
    study = optuna.create_study(storage=storage, study_name="s")
    writer = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    assert optuna.load_study(study_name="s", storage=storage).study_name == study.study_name
    assert time.monotonic() - started < BUSY_TIMEOUT / 2
    writer.close()


def test_search_on_postgresql(postgresql: str, small: Path) -> None:  # noqa: F811
    from hpo.search.engines import run_search
    from hpo.search.search_listener import SearchListener

    assert find_stored_study(load_study(small), postgresql) is None
    engine = sqlalchemy.create_engine(postgresql)
    assert not sqlalchemy.inspect(engine).get_table_names(), "looking for a study must not create tables"
    engine.dispose()
    for trials in (2, 3):
        study: Any = run_search(load_study(small, (f"search.trials={trials}",)), postgresql, SearchListener())
        assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE"] * trials
        study._storage._backend.engine.dispose()
