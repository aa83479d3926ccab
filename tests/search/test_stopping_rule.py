"""`search.stop = "noise"` ends a search if no gain above the noise is expected, until the rule is removed."""

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
from hpo.search.setup import open_search
from hpo.search.stopping_rule import expected_gain, has_stopped, should_stop
from hpo.study.search_space import SearchSpace
from hpo.study.spec import StudySpec, load_study
from hpo.training.metrics import Direction

AXES: dict[str, Any] = {
    "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
    "num_train_epochs": {"low": 1, "high": 5},
    "optim": {"choices": ["adamw_torch", "adafactor"]},
}
SPACE = SearchSpace.model_validate({"parameters": AXES})
RULE = ("search.stop='noise'",)


def random_trials(
    count: int, score: Callable[[float], float], noise: float = 0.002, top: float = 1.0, space: SearchSpace = SPACE
) -> list[FrozenTrial]:
    """Return complete trials at random values; the score depends on the position of the learning rate, up to `top`."""
    rng = np.random.default_rng(1)
    axes = {name: axis.distribution() for name, axis in space.parameters.items()}
    trials = []
    for _ in range(count):
        position = top * rng.random()
        values = {"learning_rate": 1e-5 * 1000**position, "num_train_epochs": int(rng.integers(1, 6))}
        values |= {"optim": AXES["optim"]["choices"][int(rng.integers(2))]}
        params = {name: values[name] for name in axes}
        trials.append(create_trial(params=params, distributions=axes, value=score(position) + rng.normal(0, noise)))
    return trials


def flat(position: float) -> float:
    return 0.9


def curved(position: float) -> float:
    return 0.9 - 2 * (position - 0.6) ** 2


def store(trials: list[FrozenTrial], direction: Direction = "maximize") -> optuna.Study:
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return study


@pytest.fixture
def spec(small: Path) -> StudySpec:
    return load_study(small, RULE).model_copy(update={"space": SPACE})


def test_equal_scores_stop_after_twelve_complete_trials(spec: StudySpec) -> None:
    trials = random_trials(12, flat)
    assert not should_stop(store(trials[:11]), spec, 400)
    study = store(trials)
    assert not has_stopped(study, spec) and stop_message(study.user_attrs) is None
    assert should_stop(study, spec, 400) and has_stopped(study, spec)
    message = stop_message(study.user_attrs)
    assert message and message.startswith(
        'stopped by search.stop = "noise" after 12 complete trials: another trial is expected to'
    )


def test_only_complete_trials_count(spec: StudySpec) -> None:
    others = [
        create_trial(state=state, value=0.5 if state == TrialState.PRUNED else None, intermediate_values={125: 0.5})
        for state in (TrialState.PRUNED, TrialState.FAIL)
    ]
    assert not should_stop(store([*random_trials(11, flat), *others * 20]), spec, 400)
    assert should_stop(store([*others * 20, *random_trials(12, flat)]), spec, 400)


def test_a_large_expected_gain_continues_the_search(spec: StudySpec) -> None:
    rising = store(random_trials(14, lambda position: 0.3 + 0.5 * position, top=0.4))
    assert not should_stop(rising, spec, 400) and not has_stopped(rising, spec)
    best = create_trial(
        params={"learning_rate": 1e-3, "num_train_epochs": 3, "optim": "adafactor"},
        distributions={name: axis.distribution() for name, axis in SPACE.parameters.items()},
        value=0.97,
    )
    assert not should_stop(store([*random_trials(12, flat), best]), spec, 100_000)


def test_the_rule_must_hold_three_times_in_a_row(spec: StudySpec) -> None:
    trials = random_trials(22, curved)
    gains = [expected_gain(trials[:count], SPACE, "maximize", 150) for count in range(10, 23)]
    held = [gain.expected < gain.noise for gain in gains]
    assert held[0] is False and held[-1] is True
    first = held.index(True)
    assert not should_stop(store(trials[: 10 + first]), spec, 150)
    third = next(index for index in range(2, 13) if all(held[index - 2 : index + 1]))
    assert should_stop(store(trials[: 10 + third]), spec, 150)


def test_noise_depends_on_the_number_of_validation_rows() -> None:
    trials = random_trials(40, flat, noise=0.01)
    few, many = (expected_gain(trials, SPACE, "maximize", rows) for rows in (50, 1_000_000))
    assert few.expected == many.expected and abs(few.noise - 0.0424) < 0.006
    assert 0.005 < many.noise < 0.015  # estimated from trials of similar values


def test_perfect_and_equal_scores_have_no_gain() -> None:
    axes = {name: axis.distribution() for name, axis in SPACE.parameters.items()}
    same = [create_trial(params=trial.params, distributions=axes, value=1.0) for trial in random_trials(12, flat)]
    gain = expected_gain(same, SPACE, "maximize", 100)
    assert gain.expected == 0 < gain.noise < 0.02


def test_a_minimized_metric_has_no_binomial_noise() -> None:
    trials, turned = random_trials(20, curved), random_trials(20, curved)
    for trial in turned:
        trial.value = -float(trial.value or 0)
    up, down = expected_gain(trials, SPACE, "maximize", 10**9), expected_gain(turned, SPACE, "minimize", 10)
    assert up.expected == pytest.approx(down.expected) and up.noise == pytest.approx(down.noise, rel=1e-3)


def test_unknown_rules_are_refused(small: Path) -> None:
    with pytest.raises(SpecError, match=r"search.stop is \"nosie\"; input should be 'none' or 'noise'"):
        load_study(small, ("search.stop='nosie'",))


def test_a_stopped_search_stays_stopped_until_the_rule_is_removed(small: Path) -> None:
    class NoticeListener(SearchListener):
        def __init__(self) -> None:
            self.notices: list[str] = []

        def notice(self, text: str) -> None:
            self.notices.append(text)

    def continue_search(*overrides: str) -> tuple[optuna.Study, list[str]]:
        listener = NoticeListener()
        study = run_search(load_study(small, overrides), f"sqlite:///{small.parent}/store.db", listener)
        return study, [text for text in listener.notices if "stopped by" in text]

    study = open_search(load_study(small), f"sqlite:///{small.parent}/store.db", SearchListener())[2]
    study.add_trials(random_trials(12, flat, space=load_study(small).space))
    for _ in range(2):
        study, messages = continue_search("search.trials=30", *RULE)
        assert len(study.get_trials()) == 12 and len(messages) == 1
        assert study.user_attrs["stopped"]["complete"] == 12
    study, messages = continue_search("search.trials=13")
    assert len(study.get_trials()) == 13 and not messages and not study.user_attrs["stopped"]
