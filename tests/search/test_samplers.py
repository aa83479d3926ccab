"""What holds for every sampler: draws follow from the study's seed and the trial's place, and from nothing else."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.search.samplers import SAMPLERS, build_sampler, trial_seed
from hpo.study.spec import StudySpec, load_study

SPACE = "space.parameters={learning_rate={low=1e-5,high=1e-2,log=true}, weight_decay={low=0.0,high=0.3}}"
GRID = "space.parameters={learning_rate={choices=[1e-5,1e-4,1e-3]}, weight_decay={low=0.0,high=0.2,step=0.1}}"


def draws(spec: StudySpec, sittings: list[int]) -> list[dict[str, Any]]:
    """The values of trials that are run in so many sittings, each with a sampler of its own."""
    storage = optuna.storages.InMemoryStorage()
    for trials in sittings:
        study = optuna.create_study(
            storage=storage, study_name="s", sampler=build_sampler(spec), load_if_exists=True, direction="maximize"
        )
        study.optimize(lambda trial: -abs(spec.space.suggest(trial)["learning_rate"] - 1e-3), n_trials=trials)
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_in_one_sitting_as_in_three_and_other_with_another_seed(name: str, small: Path) -> None:
    spec = load_study(small, (GRID if name == "grid" else SPACE, f"search.sampler={name}"))
    other = load_study(small, (GRID if name == "grid" else SPACE, f"search.sampler={name}", "search.seed=1"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        one, three = draws(spec, [9]), draws(spec, [3, 3, 3])
        assert one == three
        assert len({tuple(values.items()) for values in one}) == 9
        assert draws(other, [9]) != one


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "grid"])
def test_with_a_prior_too(name: str, small: Path) -> None:
    start = "space.known_good=[{source='paper',learning_rate=1e-3,weight_decay=0.1}]"
    spec = load_study(small, (SPACE, start, f"search.sampler={{name='{name}',prior=true}}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        one, three = draws(spec, [9]), draws(spec, [3, 3, 3])
        assert one == three
        plain = draws(load_study(small, (SPACE, f"search.sampler={name}")), [9])
    same = [values == without for values, without in zip(one, plain, strict=True)]
    assert not all(same) and len({tuple(values.items()) for values in one}) == 9


def test_seeds_of_trials_differ_by_place_and_by_study() -> None:
    seeds = {trial_seed(study, place) for study in range(20) for place in range(50)}
    assert len(seeds) == 1000 and max(seeds) < 2**31
