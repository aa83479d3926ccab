"""Trials whose worker is killed, stopped or suspended continue, and the search is the one without interruption."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpo.search.engines import run_search
from hpo.store import database, trial_state
from hpo.store.dead_trials import MAX_DEATHS
from hpo.study.spec import load_study
from tests.support.search_process import (
    KILLED,
    TIMEOUT,
    NoticeListener,
    SignalPoint,
    run_process,
    search,
    start_process,
    wait_until_stopped,
)

# Its first call is the smoke test's.
STEP = "hpo.training.trainer:RungTrainer.training_step"
KNOWN = '[[space.known_good]]\nsource = "paper"\nlearning_rate = 1e-3\n'


def continue_search(small: Path, store: str, *overrides: str) -> tuple[optuna.Study, list[str]]:
    """Run the rest of a search in this process; return its study and notices."""
    listener = NoticeListener()
    study = run_search(load_study(small, overrides), store_url(small, store), listener)
    return study, listener.notices


def store_url(small: Path, store: str) -> str:
    return f"sqlite:///{small.parent}/{store}"


def results(study: optuna.Study) -> list[Any]:
    """Return everything about the trials that no interruption may change: one row per trial."""
    return [
        (
            trial.number,
            trial.state.name,
            trial.params,
            trial.value,
            trial.intermediate_values,
            {
                key: trial.user_attrs.get(key)
                for key in ("place", "seed", "metrics", "effective", "steps", "tokens", "reason")
            },
        )
        for trial in study.get_trials()
    ]


@pytest.fixture
def asha(small: Path) -> Path:
    """A study with two sampled values, a known-good start and a pruner that prunes."""
    text = small.read_text().replace('pruner = "none"', 'pruner = "asha"')
    small.write_text(f"{text}[space.parameters.weight_decay]\nlow = 0.0\nhigh = 0.1\n{KNOWN}")
    return small


POINTS = {
    "before its row is written": SignalPoint("hpo.store.claiming_storage:ClaimingStorage._create_new_trial", 1),
    "after its row is written": SignalPoint("hpo.store.claiming_storage:ClaimingStorage._create_new_trial", 2, True),
    "while its values are drawn": SignalPoint("hpo.store.claiming_storage:ClaimingStorage._set_trial_param", 5, True),
    "before its first step": SignalPoint("hpo.training.trainer:RungTrainer._attempt", 2),
    "at a step": SignalPoint(STEP, 10),
    "after a report": SignalPoint("hpo.store.claiming_storage:ClaimingStorage.set_trial_intermediate_value", 7, True),
    "while it is pruned": SignalPoint("hpo.search.pruners:AshaPruner.prune", 5, True),
    "before its end": SignalPoint("hpo.store.claiming_storage:ClaimingStorage.set_trial_state_values", 3),
    "after its end": SignalPoint("hpo.store.claiming_storage:ClaimingStorage.set_trial_state_values", 2, True),
}
BUDGET = ("search.trials=4",)


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS.keys())
def test_killed_search_continues_as_if_it_had_not_been_killed(asha: Path, point: SignalPoint) -> None:
    whole, _ = continue_search(asha, "whole.db", *BUDGET)
    assert run_process(point, search, asha, BUDGET, store_url(asha, "killed.db")) == KILLED
    killed, notices = continue_search(asha, "killed.db", *BUDGET)
    assert results(killed) == results(whole)
    assert not any("waiting" in notice for notice in notices)
    assert not (asha.parent / "small" / "workers").exists()


def test_trial_that_kills_its_worker_is_given_up(asha: Path) -> None:
    url = store_url(asha, "deadly.db")
    for _ in range(MAX_DEATHS):
        assert run_process(SignalPoint(STEP, 3), search, asha, BUDGET, url) == KILLED
    study, notices = continue_search(asha, "deadly.db", *BUDGET)
    given_up, *others = study.get_trials()
    assert (given_up.state, trial_state.outcome(given_up)) == (TrialState.FAIL, trial_state.INFEASIBLE)
    assert given_up.user_attrs["reason"] == "infeasible: killed its worker 3 times, each time after step 1 of 6"
    assert "trial #0 is given up: it killed its worker 3 times, each time after step 1 of 6" in notices
    assert sum(map(trial_state.is_finished, study.get_trials())) == 4 and len(others) == 3


def test_trial_that_is_killed_from_outside_is_never_given_up(asha: Path) -> None:
    url = store_url(asha, "outside.db")
    for call in (2, 3, 2, 4, 5):
        assert run_process(SignalPoint(STEP, call), search, asha, BUDGET, url) == KILLED
    study, _ = continue_search(asha, "outside.db", *BUDGET)
    assert results(study) == results(continue_search(asha, "whole.db", *BUDGET)[0])
    assert study.trials[0].user_attrs["source"] == "paper"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_search_pauses_its_trial(asha: Path, number: signal.Signals) -> None:
    point = SignalPoint(STEP, 10, signal=number)
    assert run_process(point, search, asha, BUDGET, store_url(asha, "stopped.db")) == 130
    plain = optuna.load_study(study_name="small", storage=store_url(asha, "stopped.db"))  # by Optuna alone
    assert [trial.state for trial in plain.trials] == [TrialState.COMPLETE, TrialState.WAITING]
    assert plain.trials[1].params.keys() == {"learning_rate", "weight_decay"} and plain.best_trial.number == 0
    study, _ = continue_search(asha, "stopped.db", *BUDGET)
    assert results(study) == results(continue_search(asha, "whole.db", *BUDGET)[0])


def test_process_ends_if_it_is_stopped_while_the_heartbeats_of_a_trial_begin(asha: Path) -> None:
    """An exception there would leave Optuna's thread running, and the process would wait for it for ever."""
    begin = SignalPoint("optuna.storages._heartbeat:HeartbeatThread.start", 1, after=True, signal=signal.SIGTERM)
    assert run_process(begin, search, asha, BUDGET, store_url(asha, "begin.db")) == 130
    (paused,) = optuna.load_study(study_name="small", storage=store_url(asha, "begin.db")).trials
    assert trial_state.outcome(paused) == trial_state.PAUSED


def test_suspended_worker_leaves_a_trial_that_was_taken_over(asha: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is stopped by SIGSTOP; another one, on what it takes for another machine, trains the trial again."""
    url = store_url(asha, "suspended.db")
    suspended = start_process(SignalPoint(STEP, 9, signal=signal.SIGSTOP), search, asha, BUDGET, url)
    wait_until_stopped(suspended)
    monkeypatch.setattr(database, "GRACE_PERIOD", 1)
    monkeypatch.setattr("hpo.store.worker_lock._boot_id", lambda: "another machine")
    study, _ = continue_search(asha, "suspended.db", "search.trials=3")
    os.kill(suspended.pid or 0, signal.SIGCONT)
    suspended.join(TIMEOUT)
    assert suspended.exitcode == 0
    assert results(study)[:3] == results(continue_search(asha, "whole.db", *BUDGET)[0])[:3]
    owners = [trial.user_attrs["worker"]["pid"] for trial in study.get_trials()]
    assert owners == [suspended.pid, os.getpid(), os.getpid(), suspended.pid]
