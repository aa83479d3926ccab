"""What a worker asks of the store: little, as each trial pays for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.store import bulk_storage
from hpo.store.storage import default_storage_url
from hpo.study.spec import load_study


def test_finished_trials_are_read_once_and_rungs_write_two_attributes(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[int]] = []
    written: list[list[str]] = []
    storage = optuna.storages.RDBStorage
    read_trials, write = bulk_storage.read_trials, storage.set_trial_user_attr

    def reading(*asked: Any) -> Any:
        trials = read_trials(*asked)
        read.append([trial.number for trial in trials if trial.state.is_finished()])
        return trials

    def writing(self: Any, trial: int, key: str, value: Any) -> None:
        written[-1].append(key)
        write(self, trial, key, value)

    class Ears(SearchListener):
        def rung(self, rung: int, value: float) -> None:
            written.append([])

        def ends(self, trial: Any, study: Any) -> None:
            written.append([])

    monkeypatch.setattr(bulk_storage, "read_trials", reading)
    monkeypatch.setattr(storage, "set_trial_user_attr", writing)
    written.append([])
    study = run_search(load_study(small), default_storage_url(small.parent), Ears())
    found = [number for numbers in read for number in numbers]
    assert {number: found.count(number) for number in found} == {0: 1, 1: 1, 2: 1}
    rungs = [keys for keys in written if keys[:2] == ["metrics", "seconds"]]
    assert [len(keys) for keys in rungs[:2]] == [2, 2] and len(rungs) == 9
    assert {"effective", "steps", "tokens", "peak_memory", "last", "best", "best_rung"} <= set(rungs[2])
    assert all(len(trial.user_attrs["metrics"]) == 3 for trial in study.get_trials())
