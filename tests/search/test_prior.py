"""The prior draws on the axes and around the starts, trusts the better start, and gives way where it is wrong."""

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
DRAW = np.random.default_rng(0)


def drawn(prior: Prior, start: dict[str, Any], number: int = 300) -> dict[str, list[Any]]:
    """Values of so many draws around one start, per axis."""
    space = SearchSpace.model_validate({"parameters": AXES, "known_good": [{"source": "s", **start}]})
    made = [prior.values(space, [], True, DRAW) for _ in range(number)]
    return {name: [each[name] for each in made if each] for name in AXES}


def ended(value: float | None, state: TrialState = TrialState.COMPLETE, **attributes: Any) -> FrozenTrial:
    reached = {125: value} if value is not None and state == TrialState.PRUNED else {}
    attributes = {"reason": "diverged: nan"} | attributes if state == TrialState.FAIL else attributes
    return create_trial(state=state, value=value, intermediate_values=reached, user_attrs=attributes)


def test_values_are_on_their_axes_of_their_kind_and_reach_both_ends() -> None:
    found = drawn(Prior(weight=1.0, spread=0.5), START)
    space = SearchSpace.model_validate({"parameters": AXES})
    for name, axis in space.parameters.items():
        assert all(axis.reason_against(value) is None for value in found[name]), name
    assert set(found["num_train_epochs"]) == {1, 2, 3, 4, 5} and set(found["optim"]) == set(AXES["optim"]["choices"])
    assert all(isinstance(value, int) for value in found["num_train_epochs"] + found["gradient_accumulation_steps"])
    assert len({round(value / 0.05) for value in found["warmup_ratio"]}) == 5


def test_they_lie_around_the_start_on_the_axis_own_scale_and_not_around_what_it_leaves_out() -> None:
    found = drawn(Prior(weight=1.0, spread=0.1), {**START, "learning_rate": 1e-5})
    decades = np.log10(found["learning_rate"])
    assert abs(decades.mean() + 5) < 0.1 and 0.2 < decades.std() < 0.35  # a tenth of three decades
    assert abs(np.mean(found["weight_decay"]) - 0.15) < 0.01
    assert 0.85 < Counter(found["optim"])["adafactor"] / 300 < 0.99
    cut = np.log10(drawn(Prior(weight=1.0, spread=0.1), START)["learning_rate"])
    assert (cut < -3).all() and cut.mean() > -3.4  # half a normal, the start being the axis's end
    free = drawn(Prior(weight=1.0, spread=0.1), {"weight_decay": 0.15})
    assert set(free["optim"]) == set(AXES["optim"]["choices"]) and np.log10(free["learning_rate"]).std() > 0.7


def test_the_better_a_start_did_the_more_is_drawn_around_it() -> None:
    rates = (1e-6, 1e-4, 1e-3)
    starts = [{"source": "s", **START, "learning_rate": rate} for rate in rates]
    space = SearchSpace.model_validate({"parameters": AXES, "known_good": starts})
    seen = [ended(value, known_good=number) for number, value in enumerate((0.6, 0.9, 0.8))]
    for maximize, order in ((True, (1, 2, 0)), (False, (0, 2, 1))):
        made = [Prior(1.0, 1e-6).values(space, seen, maximize, DRAW) for _ in range(200)]
        near = Counter(int(np.argmin(abs(np.log10(rates) - np.log10(each["learning_rate"])))) for each in made if each)
        assert tuple(number for number, _ in near.most_common()) == order


def test_its_share_falls_with_every_trial_and_faster_where_others_are_better() -> None:
    prior = Prior(weight=0.5)
    own = [ended(0.8, known_good=number) for number in range(3)]
    worse = [ended(0.7, drawn="sampler") for _ in range(9)]
    better = [ended(0.9, drawn="sampler") for _ in range(9)]
    assert prior.chance([]) == 0.5 == prior.chance(own)
    assert 0.5 > prior.chance([*own, *worse[:3]]) > prior.chance([*own, *worse]) > 0.2
    assert prior.chance([better[0], *own]) < prior.chance([*own, worse[0]])
    assert prior.chance([*better, *own]) == 0


def test_what_is_better_is_told_of_all_that_ended() -> None:
    """Pruned trials stand below complete ones and failed ones below both; the prior's own failures count too."""
    space = SearchSpace.model_validate({"parameters": AXES, "known_good": [{"source": "s", **START}]})

    def share(*found: FrozenTrial) -> float:
        return np.mean([Prior().values(space, found, True, DRAW) is not None for _ in range(400)])

    others = [ended(0.5, drawn="sampler") for _ in range(4)]
    for own in (ended(0.9, TrialState.PRUNED, known_good=0), ended(None, TrialState.FAIL, known_good=0)):
        assert share(own, *others) == 0
    assert share(ended(0.9, known_good=0), *others) > 0.2
    interrupted = ended(None, TrialState.FAIL, drawn="sampler", reason=INTERRUPTED)
    assert abs(share(ended(0.9, known_good=0), *[interrupted] * 30) - 0.5) < 0.15


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        ('{name="grid",prior=true}', "search.sampler.prior does not go with grid"),
        ('{name="tpe",prior=3}', "search.sampler.prior is 3; must be true, or a table"),
        ('{name="tpe",prior={weigth=0.5}}', "search.sampler.prior is refused: got an unexpected .*'weigth'"),
        ('{name="tpe",prior={weight=1.5}}', "search.sampler.prior is refused: weight is 1.5; must be above 0"),
        ('{name="tpe",prior={spread="wide"}}', "search.sampler.prior is refused: spread is 'wide'; must be above"),
        ('{name="tpe",prior={spread=true}}', "search.sampler.prior is refused: spread is True; must be above"),
    ],
)
def test_what_cannot_be_is_one_line(small: Path, sampler: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        build_sampler(load_study(small, (SPACE, KNOWN, f"search.sampler={sampler}")))


def test_without_starts_there_is_nothing_to_draw_around(small: Path) -> None:
    with pytest.raises(SpecError, match=r"search.sampler.prior .* the space has none: add \[\[space.known_good\]\]"):
        build_sampler(load_study(small, ("search.sampler={name='tpe',prior=true}",)))


def test_a_trial_remembers_by_whom_it_was_drawn_even_when_it_runs_again(small: Path) -> None:
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
