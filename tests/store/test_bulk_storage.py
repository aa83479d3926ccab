"""BulkStorage returns the same trials as Optuna's own RDBStorage, to the last attribute."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from hpo.store.storage import default_storage_url, find_study, open_storage, storage_url
from tests.support import synthetic


@pytest.fixture
def _tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A time zone far from UTC: Optuna stores times in UTC and returns local ones."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def read_with_optuna(storage: Any, study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return RDBStorage._get_trials(storage, study._study_id, None, set(), -1)


def load_study(storage: Any, name: str) -> optuna.Study:
    study = find_study(storage, name)
    assert study
    return study


@pytest.mark.usefixtures("_tokyo")
@pytest.mark.parametrize(
    "options", [{"unfinished": True}, {"foreign": True}, {"objective": "log_loss", "parameters": 8}]
)
def test_trials_equal_those_that_optuna_reads(tmp_path: Path, options: dict[str, Any]) -> None:
    spec = synthetic.make(tmp_path, 60, final=False, **options)
    storage = open_storage(storage_url(spec))
    study = load_study(storage, spec.name)
    trials = study.get_trials(deepcopy=False)
    assert len(trials) == 60 and trials == read_with_optuna(storage, study)
    assert [list(trial.params) for trial in trials] == [
        list(trial.params) for trial in read_with_optuna(storage, study)
    ]


@pytest.mark.usefixtures("_tokyo")
def test_infinite_values_and_local_times_are_read(tmp_path: Path) -> None:
    storage = open_storage(default_storage_url(tmp_path))
    study = optuna.create_study(storage=storage, study_name="odd")
    axis: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    for value in (math.inf, -math.inf, 1.5):
        curve = {1: math.nan, 2: value}
        study.add_trial(create_trial(params={"x": 0.5}, distributions=axis, value=value, intermediate_values=curve))
    trials = load_study(storage, "odd").get_trials()
    assert [trial.value for trial in trials] == [math.inf, -math.inf, 1.5]
    assert all(math.isnan(trial.intermediate_values[1]) for trial in trials)
    for trial in trials:
        assert trial.datetime_start and abs((datetime.now() - trial.datetime_start).total_seconds()) < 60


def test_later_changes_are_read(tmp_path: Path) -> None:
    storage = open_storage(default_storage_url(tmp_path))
    study = optuna.create_study(storage=storage, study_name="later")
    assert study.get_trials() == []
    running = storage.create_new_trial(study._study_id)
    reader = load_study(storage, "later")
    assert [trial.state for trial in reader.get_trials()] == [TrialState.RUNNING]
    storage.set_trial_user_attr(running, "reason", "none")
    storage.set_trial_state_values(running, TrialState.COMPLETE, [0.5])
    storage.create_new_trial(study._study_id)
    assert [trial.state for trial in reader.get_trials()] == [TrialState.COMPLETE, TrialState.RUNNING]
    assert reader.get_trials() == read_with_optuna(storage, study)
    assert reader.get_trials()[0].user_attrs == {"reason": "none"}


def test_a_missing_study_raises_a_key_error(tmp_path: Path) -> None:
    storage: Any = open_storage(default_storage_url(tmp_path))
    with pytest.raises(KeyError):
        storage.get_all_trials(7)


def test_only_the_requested_trials_are_read(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 30, final=False, unfinished=True)
    storage: Any = open_storage(storage_url(spec))
    study = load_study(storage, spec.name)
    trials = study.get_trials(deepcopy=False)
    ids = {trial.number: trial._trial_id for trial in trials}
    for after, included in ((20, {3, 7}), (27, set()), (29, {4}), (29, set())):
        request = study._study_id, None, {ids[number] for number in included}, ids[after]
        read = storage._get_trials(*request)
        assert read == RDBStorage._get_trials(storage, *request)
        assert [trial.number for trial in read] == [*sorted(included), *range(after + 1, 30)]
