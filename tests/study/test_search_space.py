"""Search spaces: ranges and choices, sampling, and starting points within the ranges."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

from hpo.study.search_space import Parameter, SearchSpace


def test_integer_bounds_make_an_integer_parameter() -> None:
    assert Parameter(low=1, high=4).distribution() == IntDistribution(1, 4)
    assert Parameter(low=1, high=4.0).distribution() == FloatDistribution(1.0, 4.0)
    assert Parameter(low=1e-6, high=1e-3, log=True).distribution() == FloatDistribution(1e-6, 1e-3, log=True)
    assert Parameter(choices=["a", 1]).distribution() == CategoricalDistribution(("a", 1))


@pytest.mark.parametrize(
    "axis",
    [
        {"low": 2, "high": 1},
        {"low": 0.0, "high": 1.0, "log": True},
        {"low": 0.1, "high": 1.0, "log": True, "step": 0.1},
        {"low": 1},
        {"choices": []},
        {"choices": [1, 1]},
        {"choices": [1], "low": 0},
        {"low": 1, "high": 5, "step": 0.5},
        {"low": "a", "high": "b"},
    ],
)
def test_an_invalid_parameter_is_rejected(axis: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Parameter(**axis)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("axis", "value", "reason"),
    [
        (Parameter(low=0.0, high=1.0), 1.5, "outside"),
        (Parameter(low=1, high=4), 2.5, "must be an integer"),
        (Parameter(low=1, high=9, step=2), 4, "not a multiple"),
        (Parameter(choices=["a"]), "b", "not among"),
        (Parameter(choices=[1]), True, "not among"),
        (Parameter(low=0.0, high=1.0), "x", "must be a number"),
    ],
)
def test_the_reason_against_a_value_is_given(axis: Parameter, value: object, reason: str) -> None:
    assert reason in (axis.reason_against(value) or "")


def test_grid_lists_all_values() -> None:
    assert Parameter(low=1, high=4).grid() == [1, 2, 3, 4]
    assert Parameter(low=1, high=8, step=3).grid() == [1, 4, 7]
    assert Parameter(low=0.0, high=0.5, step=0.25).grid() == [0.0, 0.25, 0.5]
    assert Parameter(low=0.0, high=0.3, step=0.1).grid() == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert Parameter(low=0.0, high=0.5).grid() is None


def test_a_starting_point_outside_the_space_is_rejected() -> None:
    axes = {"lr": {"low": 0.0, "high": 1.0}}
    with pytest.raises(ValidationError, match="known_good 1 .paper.: lr is 2; outside 0.0 to 1.0"):
        SearchSpace.model_validate({"parameters": axes, "known_good": [{"source": "paper", "lr": 2}]})
    with pytest.raises(ValidationError, match="lrr is unknown; did you mean lr"):
        SearchSpace.model_validate({"parameters": axes, "known_good": [{"source": "paper", "lrr": 0.5}]})


def test_suggest_samples_every_parameter() -> None:
    space = SearchSpace(parameters={"a": Parameter(low=0.0, high=1.0), "b": Parameter(choices=["x"])})
    trial = optuna.trial.FixedTrial({"a": 0.5, "b": "x"})
    assert space.suggest(trial) == {"a": 0.5, "b": "x"}  # type: ignore[arg-type]
