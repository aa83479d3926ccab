"""Running trials of dead workers: which are released, and which are given up."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from hpo.store.attributes import TrialStop
from hpo.store.claiming_storage import ClaimingStorage, TrialLost
from hpo.store.dead_trials import MAX_DEATHS, fail_dead_runs, release_dead_trials
from hpo.store.optuna_internals import claim_trials_for, is_trial_lost, storage_of, trial_id
from hpo.store.storage import open_storage
from hpo.store.trial_record import TrialRecord
from hpo.store.trial_state import INFEASIBLE, KILLED, PAUSED, outcome
from hpo.store.worker_lock import WorkerProgress, hold_worker_lock

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # only optimize() sends heartbeats


def open_study(folder: Path) -> optuna.Study:
    """Open the study as a process of its own does."""
    storage = open_storage(f"sqlite:///{folder}/store.db")
    return optuna.create_study(storage=storage, study_name="s", load_if_exists=True)


@contextmanager
def worker(folder: Path) -> Iterator[optuna.Study]:
    """Open the study for a worker that is alive in the block, and keep its folder of lock files."""
    with hold_worker_lock(folder) as lock:
        (lock.path.parent / "kept").touch()
        study = open_study(folder)
        claim_trials_for(study, asdict(lock.identity))
        yield study


def test_trial_of_a_living_worker_keeps_running(tmp_path: Path) -> None:
    with worker(tmp_path) as study:
        study.ask()
        assert release_dead_trials(open_study(tmp_path), tmp_path) == []
        assert study.trials[0].state == TrialState.RUNNING


def test_trial_of_a_dead_worker_waits_and_keeps_what_it_has(tmp_path: Path) -> None:
    with worker(tmp_path) as study:
        trial = study.ask()
        trial.suggest_float("x", 0.0, 1.0)
        trial.report(0.5, 250)
    assert [dead.number for dead in release_dead_trials(open_study(tmp_path), tmp_path)] == [0]
    plain = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/store.db")
    (paused,) = plain.trials
    assert (paused.state, outcome(paused)) == (TrialState.WAITING, PAUSED)
    with worker(tmp_path) as study:
        again = study.ask()
        assert again.suggest_float("x", 0.0, 1.0) == paused.params["x"] == trial.params["x"]
        study.tell(again, 0.75)
        (complete,) = study.trials
    assert (complete.value, complete.intermediate_values) == (0.75, {250: 0.5})


@pytest.mark.parametrize("is_paused", [False, True])
def test_trial_of_a_worker_elsewhere_that_died_before_its_first_heartbeat_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_paused: bool
) -> None:
    monkeypatch.setattr(ClaimingStorage, "record_heartbeat", lambda self, trial: None)
    with worker(tmp_path) as study:
        if is_paused:
            study.enqueue_trial({})
        study.ask()
    elsewhere = tmp_path / "elsewhere"
    assert release_dead_trials(open_study(tmp_path), elsewhere) == []
    storage = open_study(tmp_path)._storage
    later = "UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-61 seconds')"
    with storage._backend.engine.begin() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql(later)
    assert [dead.number for dead in release_dead_trials(open_study(tmp_path), elsewhere)] == [0]


def test_final_run_of_a_dead_worker_fails(tmp_path: Path) -> None:
    with worker(tmp_path) as study:
        study.ask()
    fail_dead_runs(open_study(tmp_path), tmp_path)
    assert [(run.state, outcome(run)) for run in study.trials] == [(TrialState.FAIL, KILLED)]
    assert study.trials[0].datetime_complete is not None


@pytest.mark.parametrize(
    ("pid", "started", "is_alive"), [(None, 0.0, True), (2**22 + 1, 0.0, False), (None, -1e6, False)]
)
def test_worker_of_an_earlier_version_is_known_by_its_process(
    tmp_path: Path, pid: int | None, started: float, is_alive: bool
) -> None:
    study = open_study(tmp_path)
    start = psutil.Process().create_time() + started
    study.ask().set_user_attr("worker", {"host": socket.gethostname(), "pid": pid or os.getpid(), "started": start})
    release_dead_trials(study, tmp_path)
    assert outcome(study.trials[0]) == ("running" if is_alive else PAUSED)


def die_at(
    folder: Path, step: int, position: int = 0, is_stopping: bool = False, is_rebooted: bool = False
) -> TrialRecord:
    """Let a worker that runs the trial die at this point, release the trial, and return its record."""
    with hold_worker_lock(folder) as lock:
        study = open_study(folder)
        claim_trials_for(study, asdict(lock.identity) | ({"boot": "before the reboot"} if is_rebooted else {}))
        study.ask()
        (lock.path.parent / "kept").touch()
    lock.path.write_text(json.dumps(asdict(WorkerProgress(0, step, 20, 2.0, position, is_stopping))))
    if is_rebooted:
        stop_heartbeats(study)
    release_dead_trials(study, folder)
    return TrialRecord.from_trial(study.trials[0])


def stop_heartbeats(study: optuna.Study) -> None:
    """Make the last heartbeats a day older."""
    storage: Any = storage_of(study)
    with storage._backend.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-1 day')")


def stop_of(record: TrialRecord) -> TrialStop:
    assert record.stop
    return record.stop


def test_trial_that_kills_its_workers_at_one_point_is_given_up(tmp_path: Path) -> None:
    points = [(5, 0), (5, 1), (5, 1), (5, 1)]
    records = [die_at(tmp_path, *point) for point in points]
    assert [stop_of(record).deaths for record in records] == [1, 1, 2, 3] and MAX_DEATHS == 3
    assert [record.outcome for record in records] == [PAUSED] * 3 + [INFEASIBLE]
    assert records[-1].reason == "infeasible: killed its worker 3 times, each time after step 5 of 20"


@pytest.mark.parametrize("cause", [{"is_stopping": True}, {"is_rebooted": True}])
def test_stopped_worker_and_reboot_do_not_count_as_deaths(tmp_path: Path, cause: dict[str, bool]) -> None:
    records = [die_at(tmp_path, 5, **cause) for _ in range(MAX_DEATHS + 1)]
    assert [(record.outcome, stop_of(record).deaths) for record in records] == [(PAUSED, 0)] * 4


def test_only_one_worker_starts_a_waiting_trial_and_the_other_does_not_write_to_it(tmp_path: Path) -> None:
    with worker(tmp_path) as first:
        mine = first.ask()
        storage_of(open_study(tmp_path)).set_trial_state_values(trial_id(mine), TrialState.WAITING)
        with worker(tmp_path) as second:
            theirs = second.ask()
            assert theirs.number == mine.number
            assert not storage_of(first).set_trial_state_values(trial_id(mine), TrialState.RUNNING)
            assert is_trial_lost(first) and not is_trial_lost(second)
            for write in (
                lambda: mine.report(0.1, 1),
                lambda: mine.set_user_attr("a", 1),
                lambda: mine.suggest_int("x", 0, 1),
            ):
                with pytest.raises(TrialLost):
                    write()
            first.tell(mine, 0.1)
            second.tell(theirs, 0.9)
    assert [trial.value for trial in open_study(tmp_path).trials] == [0.9]
