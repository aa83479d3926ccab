"""A store that is away for a while: operations wait, take effect once, or end in one line."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from hpo.errors import StoreError, StudyError
from hpo.store import database, outages
from hpo.store.outages import announced_outages
from hpo.store.storage import default_storage_url, open_storage
from tests.support.postgresql import run_server


@contextmanager
def running(action: Callable[[], None]) -> Iterator[None]:
    """Do something in another thread while the block runs, and wait for its end."""
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def run_trials(study: optuna.Study, count: int) -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("x", 0, 1)
        trial.report(0.25, 1)
        trial.set_user_attr("key", 1)
        return 0.5

    study.optimize(objective, n_trials=count)


def test_a_search_outlives_restarts_of_postgresql_and_holds_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_NOTICE_AFTER", 0.0)
    notices: list[str] = []
    with run_server(54331) as server:
        storage: Any = open_storage(server.url)
        study = optuna.create_study(study_name="s", storage=storage)
        control = sqlalchemy.create_engine(server.url, poolclass=sqlalchemy.pool.NullPool)
        for _ in range(2):
            with announced_outages(study._storage, notices.append):
                server.stop()
                with running(server.start):
                    run_trials(study, 2)
        with control.connect() as connection:
            query = sqlalchemy.text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
            assert connection.execute(query).scalar() == 1  # this one
        trials = optuna.load_study(study_name="s", storage=open_storage(server.url)).get_trials()
    assert [(trial.number, trial.state, trial.value) for trial in trials] == [
        (number, TrialState.COMPLETE, 0.5) for number in range(4)
    ]
    assert [text.partition(" is back")[1] or text.partition("; ")[2] for text in notices] == 2 * [
        "waiting for up to 300 s",
        " is back",
    ]


def test_workers_wait_for_a_free_connection() -> None:
    with run_server(54332, "-c max_connections=4 -c superuser_reserved_connections=0") as server:
        open_storage(server.url)
        engine = sqlalchemy.create_engine(server.url, poolclass=sqlalchemy.pool.NullPool)
        taken = ExitStack()
        for _ in range(4):
            taken.enter_context(engine.connect())
        threading.Timer(0.5, taken.close).start()
        study = optuna.create_study(study_name="s", storage=open_storage(server.url))
        run_trials(study, 1)
        assert len(study.get_trials()) == 1


def lose_answers(storage: Any, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let each commit happen, but lose the answer of half of them; return which were lost."""
    lost: list[bool] = []
    draw = random.Random(0)
    dialect = storage.engine.dialect
    commit = dialect.do_commit

    class LostConnection(sqlite3.OperationalError):
        sqlite_errorname = "SQLITE_IOERR_WRITE"

    def do_commit(connection: Any) -> None:
        commit(connection)
        lost.append(draw.random() < 0.5)
        if lost[-1]:
            raise LostConnection

    monkeypatch.setattr(dialect, "do_commit", do_commit)
    return lost


def test_an_operation_whose_commit_got_no_answer_takes_effect_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    storage: Any = open_storage(default_storage_url(tmp_path))
    study = optuna.create_study(study_name="s", storage=storage)
    lost = lose_answers(storage, monkeypatch)
    for _ in range(3):
        run_trials(study, 2)
        study.set_user_attr("verdict", 1)
    with pytest.raises(ValueError, match="Cannot tell a COMPLETE trial"):
        study.tell(5, 0.75)
    for number in range(3):
        study.enqueue_trial({"x": number / 8})
    monkeypatch.undo()
    assert sum(lost) > 10
    trials = optuna.load_study(study_name="s", storage=storage).get_trials()
    assert [trial.number for trial in trials] == list(range(9))
    ended, waiting = trials[:6], trials[6:]
    assert {(trial.state, trial.value, trial.intermediate_values[1]) for trial in ended} == {
        (TrialState.COMPLETE, 0.5, 0.25)
    }
    assert [(trial.state, trial.system_attrs["fixed_params"]) for trial in waiting] == [
        (TrialState.WAITING, {"x": number / 8}) for number in range(3)
    ]


def test_a_locked_file_is_waited_for_and_then_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    study = optuna.create_study(study_name="s", storage=open_storage(default_storage_url(tmp_path)))
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None, check_same_thread=False)) as backup:
        backup.execute("BEGIN IMMEDIATE")
        with running(lambda: threading.Timer(0.5, lambda: backup.execute("ROLLBACK")).run()):
            study.set_user_attr("key", 1)
        assert study.user_attrs == {"key": 1}
        backup.execute("BEGIN IMMEDIATE")
        study._storage._backend.outages.limit = 0.2  # type: ignore[attr-defined]
        for _ in range(2):
            with pytest.raises(StoreError, match="is locked by another program; run the same command again"):
                study.set_user_attr("key", 2)
        backup.execute("ROLLBACK")
    study.set_user_attr("key", 3)
    assert study.user_attrs == {"key": 3}


@pytest.mark.filterwarnings("ignore:Heartbeat")
@pytest.mark.parametrize("replace", [False, True])
def test_nothing_is_written_to_a_store_that_was_deleted_or_replaced(tmp_path: Path, replace: bool) -> None:
    study = optuna.create_study(study_name="s", storage=open_storage(default_storage_url(tmp_path)))
    file = tmp_path / "store.db"
    if replace:
        (tmp_path / "other.db").write_bytes(file.read_bytes())
        os.replace(tmp_path / "other.db", file)
    else:
        file.unlink()
    with pytest.raises(StoreError, match="the store was deleted or replaced while it was in use"):
        study.ask()
    assert file.exists() == replace


@pytest.mark.filterwarnings("ignore:Heartbeat")
def test_a_deleted_study_is_an_error_in_one_line(tmp_path: Path) -> None:
    storage = open_storage(default_storage_url(tmp_path))
    study = optuna.create_study(study_name="s", storage=storage)
    trial = study.ask()
    optuna.delete_study(study_name="s", storage=default_storage_url(tmp_path))
    for operation in (study.ask, lambda: trial.report(0.5, 1), lambda: study.get_trials(), lambda: study.user_attrs):
        with pytest.raises(StudyError, match="was deleted while it was in use; `hpo search STUDY`"):
            operation()
