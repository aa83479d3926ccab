"""What a worker reads from and writes to the store, because every trial pays for it, and what it notifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.search.budget import Budget
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.search.setup import open_search
from hpo.search.trial_runner import run_trial
from hpo.search.worker import Worker
from hpo.store import bulk_storage
from hpo.store.attributes import WorkerIdentity
from hpo.store.claiming_storage import TrialLost
from hpo.store.retrying_storage import RetryingStorage
from hpo.store.storage import default_storage_url
from hpo.store.trial_record import TrialRecord
from hpo.study.spec import load_study
from hpo.training.measurements import RunMeasurements, TrialEnded, TrialStopped

WORKER = WorkerIdentity("node", 42, 1.0, "0" * 32)


def test_finished_trials_are_read_once_and_rungs_write_two_attributes(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[int]] = []
    written: list[list[str]] = []
    storage = RetryingStorage
    read_trials, write = bulk_storage.read_trials, storage.set_trial_user_attr

    def record_reading(*arguments: Any) -> Any:
        trials = read_trials(*arguments)
        read.append([trial.number for trial in trials if trial.state.is_finished()])
        return trials

    def record_writing(self: Any, trial: int, key: str, value: Any) -> None:
        written[-1].append(key)
        write(self, trial, key, value)

    class RungListener(SearchListener):
        def rung(self, rung: int, value: float) -> None:
            written.append([])

        def ends(self, trial: Any, study: Any) -> None:
            written.append([])

    monkeypatch.setattr(bulk_storage, "read_trials", record_reading)
    monkeypatch.setattr(storage, "set_trial_user_attr", record_writing)
    written.append([])
    study = run_search(load_study(small), default_storage_url(small.parent), RungListener())
    numbers = [number for trials in read for number in trials]
    assert {number: numbers.count(number) for number in numbers} == {0: 1, 1: 1, 2: 1}
    rungs = [keys for keys in written if keys[:2] == ["metrics", "seconds"]]
    assert [len(keys) for keys in rungs[:2]] == [2, 2] and len(rungs) == 9
    assert {"effective", "steps", "tokens", "peak_memory", "last", "best", "best_rung"} <= set(rungs[2])
    assert all(len(trial.user_attrs["metrics"]) == 3 for trial in study.get_trials())


def test_waiting_for_a_remote_trial_is_notified_once(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Notices(SearchListener):
        def __init__(self) -> None:
            self.texts: list[str] = []

        def notice(self, text: str) -> None:
            self.texts.append(text)

    monkeypatch.setattr("hpo.search.worker.HEARTBEAT_INTERVAL", 0.1)
    monkeypatch.setattr("hpo.search.worker.GRACE_PERIOD", 0.3)
    spec = load_study(small, ("search.trials=1",))
    context, storage, study = open_search(spec, default_storage_url(small.parent), SearchListener())
    with pytest.warns(UserWarning, match="Heartbeat"):
        remote = study.ask()
    remote.set_user_attr("worker", {"host": "elsewhere", "pid": 1, "started": 1.0})
    notices = Notices()
    Worker(context, storage, study, notices, Budget.of(spec.search, study)).run()
    assert notices.texts == ["waiting for the heartbeat of trial #0, which runs in another process"]
    assert len(study.get_trials()) == 1


@pytest.mark.parametrize(
    ("error", "reason", "raised", "has_traceback"),
    [
        (TrialEnded("diverged: nan"), "diverged: nan", TrialEnded, False),
        (KeyboardInterrupt(), "interrupted", KeyboardInterrupt, False),
        (TrialStopped("interrupted"), None, TrialStopped, False),
        (TrialLost(), None, TrialLost, False),
        (RuntimeError("broken\nin two lines"), "error: RuntimeError: broken", LookupError, True),
        (SystemExit(3), "error: SystemExit: 3", LookupError, True),
    ],
)
def test_run_trial_stores_why_a_trial_ended(
    error: BaseException, reason: str | None, raised: type[BaseException], has_traceback: bool
) -> None:
    def fail() -> float:
        raise error

    study = optuna.create_study()
    trial = study.ask()
    with pytest.raises(raised) as caught:
        run_trial(trial, fail, RunMeasurements().describe_end, LookupError, WORKER)
    record = TrialRecord.from_trial(study.get_trials()[0])
    assert record.reason == reason and record.worker is not None
    assert (record.traceback is not None) == has_traceback
    if has_traceback:
        assert str(caught.value) == reason and "in fail" in str(record.traceback)


def test_run_trial_returns_the_value_and_stores_the_worker() -> None:
    study = optuna.create_study()
    assert run_trial(study.ask(), lambda: 0.5, RunMeasurements().describe_end, LookupError, WORKER) == 0.5
    record = TrialRecord.from_trial(study.get_trials()[0])
    assert record.reason is None and record.worker == WORKER
