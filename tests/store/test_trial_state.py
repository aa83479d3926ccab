"""What a stored trial says, and what runs next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpo.store import trial_state
from hpo.store.storage import open_storage
from hpo.study.search_space import Parameter, SearchSpace, StartingPoint

SPACE = SearchSpace(
    parameters={"x": Parameter(low=0.0, high=1.0)},
    known_good=[StartingPoint(source="one", x=0.1), StartingPoint(source="two", x=0.2)],  # type: ignore[call-arg]
)


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(storage=open_storage(f"sqlite:///{tmp_path}/store.db"), study_name="s")


def ask(study: optuna.Study) -> optuna.Trial:
    """What a worker does: queue, then ask and draw."""
    trial_state.fail_dead_trials(study)
    trial_state.enqueue_next(study, SPACE)
    with pytest.warns(UserWarning, match="Heartbeat"):  # ask() beside optimize() sends none
        trial = study.ask()
    trial.set_user_attr("worker", trial_state.worker_identity())
    trial.suggest_float("x", 0.0, 1.0)
    return trial


def end(study: optuna.Study, trial: optuna.Trial, reason: str) -> None:
    trial.set_user_attr("reason", reason)
    study.tell(trial, state=TrialState.FAIL)


def test_an_interrupted_start_runs_again_before_the_next_start(study: optuna.Study) -> None:
    first = ask(study)
    end(study, first, trial_state.INTERRUPTED)
    again, second, third = ask(study), ask(study), ask(study)
    assert [first.params["x"], again.params["x"], second.params["x"]] == [0.1, 0.1, 0.2]
    assert again.user_attrs["retry_of"] == first.number and again.user_attrs["source"] == "one"
    everyone = study.get_trials()
    assert [trial_state.replay_index(each, everyone) for each in everyone] == [0, 0, 1, 2]
    assert third.params["x"] not in (0.1, 0.2)


def test_what_finishes_a_trial(study: optuna.Study) -> None:
    ends = {
        trial_state.DIVERGED: True,
        trial_state.ERROR: True,
        trial_state.INFEASIBLE: True,
        trial_state.UNVERIFIED: True,
    }
    ends |= {
        trial_state.INTERRUPTED: False,
        trial_state.KILLED: False,
        trial_state.OUT_OF_TIME: False,
        trial_state.SURPLUS: False,
    }
    for reason in ends:
        end(study, ask(study), f"{reason}: because")
    found = {
        trial_state.outcome(trial): trial_state.is_finished(trial)
        for trial in study.get_trials()
        if trial.state.is_finished()
    }
    assert found == ends


def test_a_trial_of_a_dead_process_is_closed_and_queued_at_once(study: optuna.Study) -> None:
    dead = ask(study)
    dead.set_user_attr("worker", {**trial_state.worker_identity(), "pid": 2**22 + 1})
    again = ask(study)
    closed = study.trials[dead.number]
    assert (closed.state, trial_state.outcome(closed)) == (TrialState.FAIL, trial_state.KILLED)
    assert again.params == dead.params and again.user_attrs["retry_of"] == dead.number


def test_a_process_id_used_again_is_not_the_same_process(study: optuna.Study) -> None:
    dead = ask(study)
    dead.set_user_attr("worker", {**trial_state.worker_identity(), "started": 1.0})
    trial_state.fail_dead_trials(study)
    assert trial_state.outcome(study.trials[dead.number]) == trial_state.KILLED


def test_a_living_trial_is_left_alone(study: optuna.Study) -> None:
    living = ask(study)
    trial_state.fail_dead_trials(study)
    assert study.trials[living.number].state == TrialState.RUNNING


def test_a_trial_that_kills_its_process_again_and_again_is_given_up(study: optuna.Study) -> None:
    for _ in range(trial_state.MAX_KILLS):
        trial = ask(study)
        assert trial.params["x"] == 0.1
        end(study, trial, trial_state.KILLED)
    assert ask(study).params["x"] == 0.2
    assert [trial_state.is_finished(each) for each in study.trials][: trial_state.MAX_KILLS] == [False, False, True]


def test_a_retry_carries_values_and_nothing_of_what_was_reached(study: optuna.Study) -> None:
    first = ask(study)
    first.report(0.5, 125)
    first.storage.set_trial_system_attr(first._trial_id, "completed_rung_0", 0.5)
    end(study, first, trial_state.INTERRUPTED)
    retry = ask(study)
    again = study.trials[retry.number]
    assert again.intermediate_values == {} and "completed_rung_0" not in again.system_attrs


def test_the_later_of_two_equal_or_needless_trials_is_surplus(study: optuna.Study) -> None:
    first = ask(study)
    study.enqueue_trial({"x": 0.1}, user_attrs={"known_good": 0})
    twin = ask(study)

    def surplus(trial: optuna.Trial, wanted: int) -> bool:
        everyone = study.get_trials()
        return trial_state.is_surplus(everyone[trial.number], everyone, wanted)

    assert not surplus(first, 1) and surplus(twin, 9)
    third = ask(study)
    assert surplus(third, 2) and not surplus(third, 3)


def test_reasons_are_counted(study: optuna.Study) -> None:
    for reason in (trial_state.DIVERGED, trial_state.ERROR, trial_state.DIVERGED):
        end(study, ask(study), reason)
    counted: dict[str, Any] = trial_state.count_outcomes(study.get_trials())
    assert counted == {"diverged": 2, "error": 1}
