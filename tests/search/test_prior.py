"""The prior draws around the starting points, prefers the better ones, and is used less if they are bad."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.errors import SpecError
from hpo.search.prior import Prior
from hpo.search.samplers import build_sampler
from hpo.store.trial_queue import enqueue_next
from hpo.store.trial_record import TrialRecord
from hpo.store.trial_state import INTERRUPTED
from hpo.study.search_space import SearchSpace
from hpo.study.spec import load_study

AXES: dict[str, Any] = {
    "learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
    "weight_decay": {"low": 0.0, "high": 0.3},
    "warmup_ratio": {"low": 0.0, "high": 0.2, "step": 0.05},
    "num_train_epochs": {"low": 1, "high": 5},
    "gradient_accumulation_steps": {"low": 1, "high": 64, "log": True},
    "optim": {"choices": ["adamw_torch", "adafactor", "sgd"]},
    "seen": {"low": 3, "high": 3},
}
START: dict[str, Any] = {
    "learning_rate": 1e-3,
    "weight_decay": 0.15,
    "warmup_ratio": 0.1,
    "num_train_epochs": 3,
    "gradient_accumulation_steps": 8,
    "optim": "adafactor",
    "seen": 3,
}
SPACE = 'space.parameters={learning_rate={low=1e-5,high=1e-2,log=true}, optim={choices=["a","b"]}}'
KNOWN = 'space.known_good=[{source="paper",learning_rate=1e-4,optim="a"},{source="blog",learning_rate=1e-3}]'
RNG = np.random.default_rng(0)


def draw_axes(prior: Prior, start: dict[str, Any], count: int = 300) -> dict[str, list[Any]]:
    """Return the values of so many draws around one starting point, per axis."""
    space = SearchSpace.model_validate({"parameters": AXES, "known_good": [{"source": "s", **start}]})
    draws = [prior.draw_values(space, [], "maximize", RNG) for _ in range(count)]
    return {name: [values[name] for values in draws if values] for name in AXES}


def finish_trial(value: float | None, state: TrialState = TrialState.COMPLETE, **attributes: Any) -> FrozenTrial:
    reached = {125: value} if value is not None and state == TrialState.PRUNED else {}
    attributes = {"reason": "diverged: nan"} | attributes if state == TrialState.FAIL else attributes
    return create_trial(state=state, value=value, intermediate_values=reached, user_attrs=attributes)


def test_draws_lie_on_their_axes_and_reach_both_ends() -> None:
    draws = draw_axes(Prior(weight=1.0, spread=0.5), START)
    space = SearchSpace.model_validate({"parameters": AXES})
    for name, axis in space.parameters.items():
        assert all(axis.reason_against(value) is None for value in draws[name]), name
    assert set(draws["num_train_epochs"]) == {1, 2, 3, 4, 5} and set(draws["optim"]) == set(AXES["optim"]["choices"])
    assert all(isinstance(value, int) for value in draws["num_train_epochs"] + draws["gradient_accumulation_steps"])
    assert len({round(value / 0.05) for value in draws["warmup_ratio"]}) == 5


def test_draws_spread_around_the_start_on_the_scale_of_the_axis() -> None:
    draws = draw_axes(Prior(weight=1.0, spread=0.1), {**START, "learning_rate": 1e-5})
    decades = np.log10(draws["learning_rate"])
    assert abs(decades.mean() + 5) < 0.1 and 0.2 < decades.std() < 0.35  # a tenth of three decades
    assert abs(np.mean(draws["weight_decay"]) - 0.15) < 0.01
    assert 0.85 < Counter(draws["optim"])["adafactor"] / 300 < 0.99
    cut = np.log10(draw_axes(Prior(weight=1.0, spread=0.1), START)["learning_rate"])
    assert (cut < -3).all() and cut.mean() > -3.4  # half a normal, the start being the axis's end
    free = draw_axes(Prior(weight=1.0, spread=0.1), {"weight_decay": 0.15})
    assert set(free["optim"]) == set(AXES["optim"]["choices"]) and np.log10(free["learning_rate"]).std() > 0.7


def test_better_starting_points_get_more_draws() -> None:
    rates = (1e-6, 1e-4, 1e-3)
    starts = [{"source": "s", **START, "learning_rate": rate} for rate in rates]
    space = SearchSpace.model_validate({"parameters": AXES, "known_good": starts})
    trials = [finish_trial(value, known_good=index) for index, value in enumerate((0.6, 0.9, 0.8))]
    for direction, order in (("maximize", (1, 2, 0)), ("minimize", (0, 2, 1))):
        draws = [Prior(1.0, 1e-6).draw_values(space, trials, direction, RNG) for _ in range(200)]
        near = Counter(
            int(np.argmin(abs(np.log10(rates) - np.log10(values["learning_rate"])))) for values in draws if values
        )
        assert tuple(index for index, _ in near.most_common()) == order


def test_probability_falls_with_trials_and_faster_if_others_are_better() -> None:
    prior = Prior(weight=0.5)
    starts = [finish_trial(0.8, known_good=index) for index in range(3)]
    worse = [finish_trial(0.7, drawn="sampler") for _ in range(9)]
    better = [finish_trial(0.9, drawn="sampler") for _ in range(9)]

    def probability(*best_first: FrozenTrial) -> float:
        return prior.probability([TrialRecord.from_trial(trial) for trial in best_first])

    assert probability() == 0.5 == probability(*starts)
    assert 0.5 > probability(*starts, *worse[:3]) > probability(*starts, *worse) > 0.2
    assert probability(better[0], *starts) < probability(*starts, worse[0])
    assert probability(*better, *starts) == 0


def test_pruned_and_failed_trials_count_as_worse() -> None:
    """Pruned trials rank below complete ones and failed ones below both; failures of the prior count too."""
    space = SearchSpace.model_validate({"parameters": AXES, "known_good": [{"source": "s", **START}]})

    def share(*found: FrozenTrial) -> float:
        return float(np.mean([Prior().draw_values(space, found, "maximize", RNG) is not None for _ in range(400)]))

    others = [finish_trial(0.5, drawn="sampler") for _ in range(4)]
    for own in (finish_trial(0.9, TrialState.PRUNED, known_good=0), finish_trial(None, TrialState.FAIL, known_good=0)):
        assert share(own, *others) == 0
    assert share(finish_trial(0.9, known_good=0), *others) > 0.2
    interrupted = finish_trial(None, TrialState.FAIL, drawn="sampler", reason=INTERRUPTED)
    assert abs(share(finish_trial(0.9, known_good=0), *[interrupted] * 30) - 0.5) < 0.15


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        ('{name="grid",prior=true}', "search.sampler.prior cannot be combined with grid"),
        ('{name="tpe",prior=3}', "search.sampler.prior is 3; must be true, or a table"),
        ('{name="tpe",prior={weigth=0.5}}', "search.sampler.prior was refused: got an unexpected .*'weigth'"),
        ('{name="tpe",prior={weight=1.5}}', "search.sampler.prior was refused: weight is 1.5; must be above 0"),
        ('{name="tpe",prior={spread="wide"}}', "search.sampler.prior was refused: spread is 'wide'; must be above"),
        ('{name="tpe",prior={spread=true}}', "search.sampler.prior was refused: spread is True; must be above"),
    ],
)
def test_wrong_options_are_refused(small: Path, sampler: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        build_sampler(load_study(small, (SPACE, KNOWN, f"search.sampler={sampler}")))


def test_a_prior_without_starting_points_is_refused(small: Path) -> None:
    with pytest.raises(SpecError, match=r"search.sampler.prior .* the space has none; add \[\[space.known_good\]\]"):
        build_sampler(load_study(small, ("search.sampler={name='tpe',prior=true}",)))


def test_drawn_by_is_stored_and_kept_when_a_trial_runs_again(small: Path) -> None:
    spec = load_study(small, (SPACE, KNOWN, "search.sampler={name='random',prior={weight=1.0}}"))
    study = optuna.create_study(study_name="small", sampler=build_sampler(spec), direction="maximize")
    for number in range(12):
        enqueue_next(study, spec.space)
        trial = study.ask()
        values = spec.space.suggest(trial)
        if number == 2:
            trial.set_user_attr("reason", INTERRUPTED)
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, 0.0 if "known_good" in trial.user_attrs else values["learning_rate"])
    first, second, broken, again, *others = study.trials
    assert "drawn" not in first.user_attrs | second.user_attrs and second.params["optim"] in {"a", "b"}
    assert broken.user_attrs["drawn"] == again.user_attrs["drawn"] == "prior" and broken.params == again.params
    assert {trial.user_attrs["drawn"] for trial in others} == {"prior", "sampler"}
