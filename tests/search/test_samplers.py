"""Contract of every sampler: values follow from the study's seed and the replay index, and from nothing else."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.errors import SpecError
from hpo.search.samplers import EXHAUSTIVE_NAMES, SAMPLERS, build_sampler, count_left, is_exhausted, trial_seed
from hpo.study.spec import StudySpec, load_study

SPACE = "space.parameters={learning_rate={low=1e-5,high=1e-2,log=true}, weight_decay={low=0.0,high=0.3}}"
GRID = "space.parameters={learning_rate={choices=[1e-5,1e-4,1e-3]}, weight_decay={low=0.0,high=0.2,step=0.1}}"


def draw_trials(spec: StudySpec, sessions: list[int]) -> list[dict[str, Any]]:
    """Return the values of trials that run in so many sessions, each with a sampler of its own."""
    return [trial.params for trial in run_sessions(spec, sessions).trials]


def run_sessions(spec: StudySpec, sessions: list[int]) -> optuna.Study:
    storage = optuna.storages.InMemoryStorage()
    for trials in sessions:
        study = optuna.create_study(
            storage=storage, study_name="s", sampler=build_sampler(spec), load_if_exists=True, direction="maximize"
        )
        study.optimize(lambda trial: -abs(spec.space.suggest(trial)["learning_rate"] - 1e-3), n_trials=trials)
    return study


def space_for(name: str) -> str:
    return GRID if name in EXHAUSTIVE_NAMES else SPACE


@pytest.mark.parametrize("name", SAMPLERS)
def test_values_do_not_depend_on_sessions_but_on_the_seed(name: str, small: Path) -> None:
    spec = load_study(small, (space_for(name), f"search.sampler={name}"))
    other = load_study(small, (space_for(name), f"search.sampler={name}", "search.seed=1"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        one, three = draw_trials(spec, [9]), draw_trials(spec, [3, 3, 3])
        assert one == three
        assert len({tuple(values.items()) for values in one}) == 9
        assert draw_trials(other, [9]) != one


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in EXHAUSTIVE_NAMES])
def test_values_with_a_prior_do_not_depend_on_sessions(name: str, small: Path) -> None:
    start = "space.known_good=[{source='paper',learning_rate=1e-3,weight_decay=0.1}]"
    spec = load_study(small, (SPACE, start, f"search.sampler={{name='{name}',prior=true}}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        one, three = draw_trials(spec, [9]), draw_trials(spec, [3, 3, 3])
        assert one == three
        plain = draw_trials(load_study(small, (SPACE, f"search.sampler={name}")), [9])
    same = [values == without for values, without in zip(one, plain, strict=True)]
    assert not all(same) and len({tuple(values.items()) for values in one}) == 9


@pytest.mark.parametrize("name", EXHAUSTIVE_NAMES)
def test_exhaustive_samplers_know_when_every_combination_was_tried(name: str, small: Path) -> None:
    spec = load_study(small, (GRID, f"search.sampler={name}", "search.trials=20"))
    part, whole = run_sessions(spec, [4, 4]), run_sessions(spec, [4, 5])
    assert not is_exhausted(build_sampler(spec), part, spec.space) and count_left(spec, part.trials) == 1
    assert is_exhausted(build_sampler(spec), whole, spec.space) and count_left(spec, whole.trials) == 0
    random = load_study(small, (GRID, "search.sampler=random", "search.trials=20"))
    assert not is_exhausted(build_sampler(random), whole, random.space) and count_left(random, whole.trials) == 11


@pytest.mark.parametrize("name", EXHAUSTIVE_NAMES)
def test_exhaustive_samplers_need_finite_axes(name: str, small: Path) -> None:
    with pytest.raises(SpecError, match=f"{name} needs a step or choices for learning_rate, weight_decay"):
        build_sampler(load_study(small, (SPACE, f"search.sampler={name}")))


def test_a_sampler_object_replaces_the_one_of_the_study_file(small: Path) -> None:
    sampler = optuna.samplers.RandomSampler(seed=0)
    assert build_sampler(load_study(small), sampler) is sampler


def test_trial_seeds_differ_by_replay_index_and_by_study() -> None:
    seeds = {trial_seed(study, index) for study in range(20) for index in range(50)}
    assert len(seeds) == 1000 and max(seeds) < 2**31
