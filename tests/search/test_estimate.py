"""What a dry run says, against what the search then does; and that it leaves nothing behind."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from hpo.errors import StudyError, TrainingError
from hpo.search.engines import run_search
from hpo.search.forecast import ended, forecast
from hpo.search.plan import Epoch, Planned, draws
from hpo.search.probe import Pace, Part, _above
from hpo.search.search_listener import SearchListener
from hpo.search.worker import prepare_context
from hpo.study.spec import StudySpec, load_study

SPACE = """
[space.parameters.num_train_epochs]
low = 1
high = 3
[space.parameters.per_device_train_batch_size]
choices = [8, 20]
[[space.known_good]]
source = "paper"
learning_rate = 1e-3
num_train_epochs = 2
per_device_train_batch_size = 20
"""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timing ends after its fewest steps, and few searches are made up."""
    monkeypatch.setattr("hpo.search.probe.SHORT", 0.0)
    monkeypatch.setattr("hpo.search.forecast.MADE_UP", 100)


@pytest.fixture
def wide(small: Path) -> Path:
    """The small study with trials of unlike lengths and batches."""
    fixed = "per_device_train_batch_size = 16\nnum_train_epochs = 1\n"
    small.write_text(small.read_text().replace(fixed, "gradient_accumulation_steps = 2\n") + SPACE)
    return small


def url(file: Path) -> str:
    return f"sqlite:///{file.parent}/store.db"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} | {
        str(path.relative_to(folder)): b"" for path in folder.rglob("*") if path.is_dir()
    }


def trial_of(rungs: tuple[int, ...]) -> Planned:
    return Planned({}, (8, 1), {rung: rung for rung in rungs}, np.ones((len(rungs), 3)))


def test_it_foretells_the_trials_steps_and_tokens_of_the_search_and_leaves_no_trace(wide: Path) -> None:
    spec = load_study(wide, ("search.trials=4", "search.rungs=[0.3, 1.0]", "search.timeout='1d'"))
    before = everything(wide.parent)
    found = forecast(spec, url(wide), SearchListener())
    assert everything(wide.parent) == before
    study = run_search(spec, url(wide), SearchListener())
    done = study.get_trials()
    for name in ("steps", "examples", "tokens"):
        assert found[name] == sum(trial.user_attrs[name] for trial in done), name
    assert found["search"]["fit"] == 4 and found["search"]["with_pruning"] is None
    assert found["padded_tokens"] >= found["tokens"] and found["memory"]["rows"] == 20
    assert json.loads(json.dumps(found)) == found

    drawn = [trial.params for trial in done]
    assert draws(spec, "maximize", []) == drawn and len({trial["num_train_epochs"] for trial in drawn}) > 1
    assert draws(spec, "maximize", done[:2]) == drawn[2:]
    killed = copy.copy(done[1])
    killed.state, killed.datetime_complete, killed.values = TrialState.RUNNING, None, None
    assert draws(spec, "maximize", [done[0], killed]) == drawn[1:]

    before = everything(wide.parent)
    rest = forecast(load_study(wide, ("search.trials=6", "search.rungs=[0.3, 1.0]")), url(wide), SearchListener())
    assert rest["trials"] == {"wanted": 6, "finished": 4, "left": 2} and rest["steps"] < found["steps"]
    assert everything(wide.parent).keys() == before.keys()
    assert optuna.load_study(study_name="small", storage=url(wide)).user_attrs == study.user_attrs
    assert len(optuna.load_study(study_name="small", storage=url(wide)).get_trials()) == 4
    with pytest.raises(StudyError, match="changed since"):
        forecast(load_study(wide, ("search.seed=9",)), url(wide), SearchListener())


def test_rungs_by_examples_a_finished_grid_and_a_timeout(wide: Path) -> None:
    spec = load_study(
        wide,
        (
            "search.rungs={every_examples=60}",
            "search.sampler='grid'",
            "search.trials=50",
            "search.timeout=1e-3",
            "space.parameters={num_train_epochs={low=1, high=2}}",
            "space.known_good=[]",
            "search.pruner='median'",
        ),
    )
    found = forecast(spec, url(wide), SearchListener())
    assert found["trials"]["left"] == 2 and "the sampler has no more values than that to try" in found["notes"]
    assert found["search"]["fit"] == 0 and found["examples"] == 3 * 96
    assert 0 < found["search"]["share_run"] <= 1
    assert 0 < found["search"]["with_pruning"] <= found["search"]["without_pruning"] * (1 + 1e-9)


def test_an_interrupt_and_a_run_that_fails_leave_nothing(wide: Path) -> None:
    class Interrupting(SearchListener):
        def step(self, step: int, steps: int, loss: float | None) -> None:
            raise KeyboardInterrupt

    before = everything(wide.parent)
    with pytest.raises(KeyboardInterrupt):
        forecast(load_study(wide), url(wide), Interrupting())
    wild = ("space.parameters={learning_rate={low=1e30, high=1e30}}", "space.known_good=[]")
    with pytest.raises(TrainingError, match="small: timing a few steps .* came to an end: diverged: "):
        forecast(load_study(wide, wild), url(wide), SearchListener())
    assert everything(wide.parent) == before


def spec_with(file: Path, pruner: str) -> StudySpec:
    return load_study(file, (f"search.pruner={pruner!r}",))


@pytest.mark.parametrize("pruner", ["asha", "median", "hyperband"])
def test_what_pruning_leaves_is_averaged_over_made_up_searches(small: Path, pruner: str) -> None:
    trials = [trial_of((250, 500, 1000))] * 15
    places = ended(spec_with(small, pruner), "maximize", trials, before=0)
    assert (places == ended(spec_with(small, pruner), "maximize", trials, before=0)).all()
    assert places.shape[1] == 15 and (places[:, 0] == 2).all(), "the first trial has no rival"
    assert 0.2 < (places == 2).mean() < 0.9
    later = ended(spec_with(small, pruner), "maximize", trials, before=15)
    assert later.shape[1] == 15 and not (later[:, 0] == 2).all()


def test_without_a_pruner_every_trial_comes_to_its_end(small: Path) -> None:
    assert (ended(spec_with(small, "none"), "minimize", [trial_of((500, 1000)), trial_of((1000,))], 0) == [1, 0]).all()


def test_a_pace_is_the_line_through_its_steps_whatever_one_of_them_met() -> None:
    tokens = [100.0, 200.0, 300.0, 400.0, 500.0]
    seconds = [0.5 + 0.01 * each for each in tokens]
    pace = Pace.through(tokens, [*seconds[:3], 90.0, seconds[4]])
    assert pace.of(2, 1000) == pytest.approx(2 * 0.5 + 0.01 * 1000)
    assert Pace.through([7, 7, 7], [1.0, 3.0, 2.0]) == Pace(2.0, 0.0)
    assert Pace.through([1, 2, 3], [3.0, 2.0, 1.0]) == Pace(2.0, 0.0), "longer batches do not take less"


def test_an_epoch_knows_what_is_done_after_any_step() -> None:
    epoch = Epoch([[0, 1], [2, 3], [4]], np.array([5, 3, 2, 2, 9]), accumulated=2, width=int)
    assert epoch.steps == 2
    assert epoch.done(np.array([0, 1, 2, 3])).tolist() == [[0, 0, 0], [4, 12, 14], [5, 21, 23], [9, 33, 37]]
    rounded = Epoch([[0, 1], [2, 3], [4]], np.array([5, 3, 2, 2, 9]), accumulated=2, width=lambda longest: 16)
    assert rounded.done(np.array([1, 2])).tolist() == [[4, 12, 64], [5, 21, 80]]


def test_what_setting_up_takes_is_what_steps_and_batches_take_beyond_their_pace() -> None:
    steps = [(10, 1.0), (10, 4.0), (20, 4.5), (10, 5.0)]  # tokens, and the clock at the end
    timed: Any = SimpleNamespace(steps=steps, evaluates=5.0, batches=[(30, 7.0), (30, 7.2)])
    assert _above(timed, Pace(0.0, 0.1), Pace(0.5, 0.0)) == pytest.approx(2.0 + 1.5)


def test_a_part_holds_the_rows_that_it_is_given(small: Path) -> None:
    whole: Any = prepare_context(load_study(small), SearchListener())[0].train
    part = Part(whole, np.array([5, 0]))
    assert len(part) == 2 and part.lengths.tolist() == [whole.lengths[5], whole.lengths[0]]
    rebuilt, arguments = part.__reduce__()
    for each in (part, rebuilt(*arguments)):
        assert each[0]["input_ids"].tolist() == whole[5]["input_ids"].tolist() and each[1]["labels"] == whole.labels[0]
