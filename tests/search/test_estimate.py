"""The dry run: estimates that agree with the search that follows, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.errors import StudyError, TrainingError
from hpo.search.engines import run_search
from hpo.search.estimate import Estimate, estimate_search
from hpo.search.estimate.timing import TokenizedSubset, select_texts
from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.study.spec import load_study
from hpo.terminal.estimate_report import print_estimate

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


@pytest.fixture
def wide(small: Path) -> Path:
    """The small study with trials of different lengths and batches."""
    fixed = "per_device_train_batch_size = 16\nnum_train_epochs = 1\n"
    small.write_text(small.read_text().replace(fixed, "gradient_accumulation_steps = 2\n") + SPACE)
    return small


def url(file: Path) -> str:
    return f"sqlite:///{file.parent}/store.db"


def estimate(file: Path, *overrides: str) -> Estimate:
    return estimate_search(load_study(file, overrides), url(file), SearchListener())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def test_an_estimate_is_about_the_search_that_follows_and_writes_nothing(wide: Path) -> None:
    overrides = ("search.trials=4", "search.rungs=[0.3, 1.0]")
    before = contents(wide.parent)
    first = estimate(wide, *overrides, "search.timeout='1d'")
    assert contents(wide.parent) == before
    study = run_search(load_study(wide, overrides), url(wide), SearchListener())
    assert (first.trials_wanted, first.trials_left, first.trials_in_timeout) == (4, 4, 4)
    assert (first.memory_rows, first.memory_tokens) == (20, 32) and first.memory_bytes > 1e8
    seconds = first.trial_seconds
    assert 0 < seconds.shortest < seconds.typical < seconds.longest
    assert first.search_seconds == pytest.approx(first.loading_seconds + 4 * seconds.typical)
    took = sum(trial.user_attrs["seconds"]["wall"] for trial in study.get_trials())
    assert took / 10 < 4 * seconds.typical < took * 10, "a shared machine is not exact, but orders of magnitude are"
    weights = (wide.parent / "small" / "best" / "model.safetensors").stat().st_size
    assert weights < first.model_bytes < 2 * weights
    assert Estimate.model_validate_json(first.model_dump_json()) == first

    before = contents(wide.parent)
    rest = estimate(wide, "search.trials=6", "search.rungs=[0.3, 1.0]")
    assert (rest.trials_wanted, rest.trials_left, rest.trials_in_timeout) == (6, 2, None)
    assert rest.store_bytes < first.store_bytes
    assert contents(wide.parent).keys() == before.keys()
    stored = optuna.load_study(study_name="small", storage=url(wide))
    assert stored.user_attrs == study.user_attrs and len(stored.get_trials()) == 4
    with pytest.raises(StudyError, match="changed since"):
        estimate(wide, "search.seed=9")


def test_the_length_of_a_trial_follows_from_epochs_or_steps(wide: Path) -> None:
    one_epoch = estimate(wide, "space.parameters={learning_rate={low=1e-4,high=1e-3}}", "space.known_good=[]")
    assert one_epoch.trial_seconds.shortest == one_epoch.trial_seconds.longest == one_epoch.trial_seconds.typical
    steps = "space.parameters={max_steps={low=2,high=200}}"
    by_steps = estimate(wide, steps, "space.known_good=[]", "search.rungs={every_examples=60}").trial_seconds
    assert by_steps.shortest < by_steps.typical < by_steps.longest


@pytest.mark.parametrize("batch", ["training.per_device_train_batch_size=16", None])
def test_a_batch_larger_than_the_train_rows_is_timed_with_all_of_them(small: Path, batch: str | None) -> None:
    small.write_text(small.read_text().replace("per_device_train_batch_size = 16\n", ""))
    overrides = ("data.rows.train=6", "search.trials=1", *([batch] if batch else []))
    assert estimate(small, *overrides).memory_rows == 6
    (trial,) = run_search(load_study(small, overrides), url(small), SearchListener()).get_trials()
    assert trial.user_attrs["effective"]["per_device_train_batch_size"] == 6


def test_a_grid_and_a_timeout_limit_the_trials(wide: Path) -> None:
    grid = ("space.parameters={num_train_epochs={low=1, high=2}}", "space.known_good=[]", "search.sampler='grid'")
    limited = estimate(wide, *grid, "search.trials=50", "search.timeout=1e-3")
    assert (limited.trials_left, limited.trials_in_timeout) == (2, 0)


def test_accelerations_of_a_stored_study_are_used(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = run_search(load_study(wide, ("search.trials=1",)), url(wide), SearchListener())
    study.set_user_attr("speed", {"bf16": True})
    notices: list[str] = []
    monkeypatch.setattr(SearchListener, "notice", lambda self, text: notices.append(text))
    estimate(wide, "search.trials=2")
    assert any("bf16 = true" in text for text in notices)


def test_an_interrupt_and_a_diverging_run_leave_nothing(wide: Path) -> None:
    class Interrupting(SearchListener):
        def step(self, step: int, steps: int, loss: float | None) -> None:
            raise KeyboardInterrupt

    before = contents(wide.parent)
    with pytest.raises(KeyboardInterrupt):
        estimate_search(load_study(wide), url(wide), Interrupting())
    with pytest.raises(TrainingError, match="small: timing 2 steps of up to 32 tokens a text failed: diverged: "):
        estimate(wide, "space.parameters={learning_rate={low=1e30, high=1e30}}", "space.known_good=[]")
    assert contents(wide.parent) == before


def test_the_report_has_a_line_for_each_figure(wide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = estimate(wide, "search.timeout='1d'", 'space.parameters.optim={choices=["sgd","adamw_torch"]}')
    print_estimate(result, load_study(wide))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "small: 3 of 3 trials left to run"
    names = [line.partition(":")[0] for line in lines[1:5]]
    assert names == ["full trial", "whole search", "memory", "disk"]
    assert "(shortest) to" in lines[1] and "without pruning" in lines[2]
    assert "pruning usually shortens this; about 3 full trials fit into the timeout" in lines[2]
    assert "with batches of 20 x 32 tokens" in lines[3]
    assert any(line.startswith("note: timed with optim = adamw_torch; other values may be") for line in lines)
    assert lines[-1].startswith("nothing was written; ")


def test_subsets_hold_the_longest_or_typical_texts(small: Path) -> None:
    whole: Any = prepare_context(load_study(small), SearchListener())[0].train
    longest, typical = select_texts(whole, 4, longest=True), select_texts(whole, 4)
    assert longest.lengths.tolist() == sorted(whole.lengths, reverse=True)[:4]
    assert typical.lengths.max() == whole.lengths.max() and typical.lengths.min() == whole.lengths.min()
    assert len(select_texts(whole, 1000)) == len(whole)
    rebuilt, arguments = typical.__reduce__()
    for subset in (typical, rebuilt(*arguments)):
        assert isinstance(subset, TokenizedSubset) and len(subset) == 4
        for item, row in zip(subset, subset.rows, strict=True):  # type: ignore[call-overload]
            assert item["input_ids"].tolist() == whole[int(row)]["input_ids"].tolist()
            assert item["labels"] == whole.labels[row]
