"""Outcomes of stored trials, trials of dead processes, and the queue of trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpo.store import trial_queue, trial_state
from hpo.store.run_record import RunRecord, run_attributes
from hpo.store.storage import open_storage
from hpo.store.trial_record import TrialRecord, trial_attributes
from hpo.study.search_space import Parameter, SearchSpace, StartingPoint

SPACE = SearchSpace(
    parameters={"x": Parameter(low=0.0, high=1.0)},
    known_good=[StartingPoint(source="one", x=0.1), StartingPoint(source="two", x=0.2)],  # type: ignore[call-arg]
)


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(storage=open_storage(f"sqlite:///{tmp_path}/store.db"), study_name="s")


def start_trial(study: optuna.Study) -> optuna.Trial:
    """Do what a worker does: enqueue, ask for a trial, and draw its values."""
    trial_queue.enqueue_next(study, SPACE)
    with pytest.warns(UserWarning, match="Heartbeat"):  # only optimize() sends them
        trial = study.ask()
    trial.suggest_float("x", 0.0, 1.0)
    return trial


def fail_trial(study: optuna.Study, trial: optuna.Trial, reason: str) -> None:
    trial.set_user_attr("reason", reason)
    study.tell(trial, state=TrialState.FAIL)


def test_an_interrupted_starting_point_is_retried_before_the_next_one(study: optuna.Study) -> None:
    first = start_trial(study)
    fail_trial(study, first, trial_state.INTERRUPTED)
    retry, second, third = start_trial(study), start_trial(study), start_trial(study)
    assert [first.params["x"], retry.params["x"], second.params["x"]] == [0.1, 0.1, 0.2]
    assert retry.user_attrs["retry_of"] == first.number and retry.user_attrs["source"] == "one"
    trials = study.get_trials()
    assert [trial_queue.replay_index(trial, trials) for trial in trials] == [0, 0, 1, 2]
    assert third.params["x"] not in (0.1, 0.2)


def test_a_starting_point_that_two_workers_have_enqueued_has_one_index(study: optuna.Study) -> None:
    for starting_point in (0, 0, 1):
        study.enqueue_trial({"x": 0.1}, {"known_good": starting_point})
    study.enqueue_trial({})
    trials = study.get_trials()
    assert [trial_queue.is_surplus(trial, trials, 9) for trial in trials] == [False, True, False, False]
    before = [trial_queue.replay_index(trial, trials) for trial in (trials[0], *trials[2:])]
    fail_trial(study, start_trial(study), "another")
    fail_trial(study, start_trial(study), trial_state.SURPLUS)
    trials = study.get_trials()
    assert before == [trial_queue.replay_index(trial, trials) for trial in (trials[0], *trials[2:])] == [0, 1, 2]


def test_only_some_reasons_finish_a_trial(study: optuna.Study) -> None:
    is_finished_by_reason = {
        trial_state.DIVERGED: True,
        trial_state.ERROR: True,
        trial_state.INFEASIBLE: True,
        trial_state.UNVERIFIED: True,
    }
    is_finished_by_reason |= {
        trial_state.INTERRUPTED: False,
        trial_state.KILLED: False,
        trial_state.OUT_OF_TIME: False,
        trial_state.SURPLUS: False,
    }
    for reason in is_finished_by_reason:
        fail_trial(study, start_trial(study), f"{reason}: because")
    is_finished = {
        trial_state.outcome(trial): trial_state.is_finished(trial)
        for trial in study.get_trials()
        if trial.state.is_finished()
    }
    assert is_finished == is_finished_by_reason


def test_a_trial_that_was_killed_too_often_is_not_retried(study: optuna.Study) -> None:
    for _ in range(trial_state.MAX_KILLS):
        trial = start_trial(study)
        assert trial.params["x"] == 0.1
        fail_trial(study, trial, trial_state.KILLED)
    assert start_trial(study).params["x"] == 0.2
    assert [trial_state.is_finished(trial) for trial in study.trials][: trial_state.MAX_KILLS] == [False, False, True]


def test_a_retry_has_the_values_but_no_results(study: optuna.Study) -> None:
    first = start_trial(study)
    first.report(0.5, 125)
    first.storage.set_trial_system_attr(first._trial_id, "completed_rung_0", 0.5)
    fail_trial(study, first, trial_state.INTERRUPTED)
    retry = start_trial(study)
    stored = study.trials[retry.number]
    assert stored.intermediate_values == {} and "completed_rung_0" not in stored.system_attrs


def test_the_later_of_two_equal_or_unneeded_trials_is_surplus(study: optuna.Study) -> None:
    first = start_trial(study)
    study.enqueue_trial({"x": 0.1}, user_attrs={"known_good": 0})
    twin = start_trial(study)

    def is_surplus(trial: optuna.Trial, wanted: int) -> bool:
        trials = study.get_trials()
        return trial_queue.is_surplus(trials[trial.number], trials, wanted)

    assert not is_surplus(first, 1) and is_surplus(twin, 9)
    third = start_trial(study)
    assert is_surplus(third, 2) and not is_surplus(third, 3)


def test_outcomes_are_counted(study: optuna.Study) -> None:
    for reason in (trial_state.DIVERGED, trial_state.ERROR, trial_state.DIVERGED):
        fail_trial(study, start_trial(study), reason)
    counts: dict[str, Any] = trial_state.count_outcomes(study.get_trials())
    assert counts == {"diverged": 2, "error": 1}


def test_a_reason_of_version_0_1_is_read_as_unverified(study: optuna.Study) -> None:
    fail_trial(study, start_trial(study), "unproven: learning_rate is 0.1, sampled 0.2")
    record = TrialRecord.from_trial(study.trials[0])
    assert record.outcome == trial_state.UNVERIFIED == "unverified"
    assert record.reason == "unverified: learning_rate is 0.1, sampled 0.2"
    assert trial_state.is_finished(study.trials[0])


def test_attributes_are_read_back_as_the_record_that_they_were_written_from(study: optuna.Study) -> None:
    trial = start_trial(study)
    written = {
        "replay_index": 4,
        "starting_point": 1,
        "drawn_by": "prior",
        "curve": {250: {"accuracy": 0.5}},
        "steps": 3,
    }
    for key, value in trial_attributes(**written).items():
        trial.set_user_attr(key, value)
    record = TrialRecord.from_trial(study.trials[trial.number])
    assert {name: getattr(record, name) for name in written} == written
    assert {"place", "known_good", "drawn", "metrics", "steps"} <= set(trial.user_attrs)
    for key, value in run_attributes(key={"kind": "majority"}, system="majority", seed=2).items():
        trial.set_user_attr(key, value)
    run = RunRecord.from_trial(study.trials[trial.number])
    assert (run.key, run.system, run.seed) == ({"kind": "majority"}, "majority", 2)
    with pytest.raises(TypeError, match="TrialRecord has no field place"):
        trial_attributes(place=3)
