"""A search stops where nothing is left to gain above the noise, says so, and goes on where it is told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.errors import SpecError
from hpo.search.budget import stop_message
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.search.stopping_rule import expected_gain, has_stopped, should_stop
from hpo.search.worker import open_search
from hpo.study.search_space import SearchSpace
from hpo.study.spec import StudySpec, load_study

AXES: dict[str, Any] = {
    "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
    "num_train_epochs": {"low": 1, "high": 5},
    "optim": {"choices": ["adamw_torch", "adafactor"]},
}
SPACE = SearchSpace.model_validate({"parameters": AXES})
RULE = ("search.stop='noise'",)


def searched(
    number: int, score: Callable[[float], float], noise: float = 0.002, top: float = 1.0, space: SearchSpace = SPACE
) -> list[FrozenTrial]:
    """Complete trials at random values, scored by how far along its axis, up to `top`, the learning rate is."""
    draw = np.random.default_rng(1)
    axes = {name: axis.distribution() for name, axis in space.parameters.items()}
    made = []
    for _ in range(number):
        share = top * draw.random()
        values = {"learning_rate": 1e-5 * 1000**share, "num_train_epochs": int(draw.integers(1, 6))}
        values |= {"optim": AXES["optim"]["choices"][int(draw.integers(2))]}
        known = {name: values[name] for name in axes}
        made.append(create_trial(params=known, distributions=axes, value=score(share) + draw.normal(0, noise)))
    return made


def flat(share: float) -> float:
    return 0.9


def bent(share: float) -> float:
    return 0.9 - 2 * (share - 0.6) ** 2


def stored(found: list[FrozenTrial], direction: str = "maximize") -> optuna.Study:
    study = optuna.create_study(direction=direction)
    study.add_trials(found)
    return study


@pytest.fixture
def spec(small: Path) -> StudySpec:
    return load_study(small, RULE).model_copy(update={"space": SPACE})


def test_all_alike_it_stops_after_twelve_complete_trials_and_no_sooner(spec: StudySpec) -> None:
    found = searched(12, flat)
    assert not should_stop(stored(found[:11]), spec, 400)
    study = stored(found)
    assert not has_stopped(study, spec) and stop_message(study.user_attrs) is None
    assert should_stop(study, spec, 400) and has_stopped(study, spec)
    said = stop_message(study.user_attrs)
    assert said and said.startswith('stopped by search.stop = "noise" after 12 complete trials: another is expected to')


def test_trials_that_are_not_complete_count_for_nothing(spec: StudySpec) -> None:
    others = [
        create_trial(state=state, value=0.5 if state == TrialState.PRUNED else None, intermediate_values={125: 0.5})
        for state in (TrialState.PRUNED, TrialState.FAIL)
    ]
    assert not should_stop(stored([*searched(11, flat), *others * 20]), spec, 400)
    assert should_stop(stored([*others * 20, *searched(12, flat)]), spec, 400)


def test_it_goes_on_where_much_may_be_gained(spec: StudySpec) -> None:
    rising = stored(searched(14, lambda share: 0.3 + 0.5 * share, top=0.4))
    assert not should_stop(rising, spec, 400) and not has_stopped(rising, spec)
    best = create_trial(
        params={"learning_rate": 1e-3, "num_train_epochs": 3, "optim": "adafactor"},
        distributions={name: axis.distribution() for name, axis in SPACE.parameters.items()},
        value=0.97,
    )
    assert not should_stop(stored([*searched(12, flat), best]), spec, 100_000)


def test_it_must_hold_after_three_trials_in_a_row(spec: StudySpec) -> None:
    found = searched(22, bent)
    gains = [expected_gain(found[:number], SPACE, True, 150) for number in range(10, 23)]
    held = [each.expected < each.noise for each in gains]
    assert held[0] is False and held[-1] is True
    first = held.index(True)
    assert not should_stop(stored(found[: 10 + first]), spec, 150)
    third = next(place for place in range(2, 13) if all(held[place - 2 : place + 1]))
    assert should_stop(stored(found[: 10 + third]), spec, 150)


def test_few_validation_rows_hide_what_many_would_show() -> None:
    found = searched(40, flat, noise=0.01)
    few, many = (expected_gain(found, SPACE, True, rows) for rows in (50, 1_000_000))
    assert few.expected == many.expected and abs(few.noise - 0.0424) < 0.006
    assert 0.005 < many.noise < 0.015  # what is seen between trials of near values


def test_perfect_and_equal_scores_are_no_trouble() -> None:
    axes = {name: axis.distribution() for name, axis in SPACE.parameters.items()}
    same = [create_trial(params=each.params, distributions=axes, value=1.0) for each in searched(12, flat)]
    found = expected_gain(same, SPACE, True, 100)
    assert found.expected == 0 < found.noise < 0.02


def test_what_is_minimized_is_judged_by_its_own_noise_alone() -> None:
    found, turned = searched(20, bent), searched(20, bent)
    for trial in turned:
        trial.value = -float(trial.value or 0)
    up, down = expected_gain(found, SPACE, True, 10**9), expected_gain(turned, SPACE, False, 10)
    assert up.expected == pytest.approx(down.expected) and up.noise == pytest.approx(down.noise, rel=1e-3)


def test_another_name_is_refused(small: Path) -> None:
    with pytest.raises(SpecError, match=r"search.stop is \"nosie\"; input should be 'none' or 'noise'"):
        load_study(small, ("search.stop='nosie'",))


def test_a_search_that_it_stopped_stays_stopped_until_the_rule_is_taken_away(small: Path) -> None:
    class Heard(SearchListener):
        def __init__(self) -> None:
            self.notices: list[str] = []

        def notice(self, text: str) -> None:
            self.notices.append(text)

    def searched_on(*overrides: str) -> tuple[optuna.Study, list[str]]:
        listener = Heard()
        study = run_search(load_study(small, overrides), f"sqlite:///{small.parent}/store.db", listener)
        return study, [text for text in listener.notices if "stopped by" in text]

    made = open_search(load_study(small), f"sqlite:///{small.parent}/store.db", SearchListener())[2]
    made.add_trials(searched(12, flat, space=load_study(small).space))
    for _ in range(2):
        study, said = searched_on("search.trials=30", *RULE)
        assert len(study.get_trials()) == 12 and len(said) == 1
        assert study.user_attrs["stopped"]["complete"] == 12
    study, said = searched_on("search.trials=13")
    assert len(study.get_trials()) == 13 and not said and not study.user_attrs["stopped"]
