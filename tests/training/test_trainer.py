"""Tests of RungTrainer: rungs, repeatability, and restarts after running out of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.study.spec import load_study
from hpo.training.arguments import next_batch_split
from hpo.training.measurements import TrialEnded
from hpo.training.trainer import RungTrainer


@pytest.fixture
def trainer(small: Path) -> RungTrainer:
    return RungTrainer(prepare_context(load_study(small), SearchListener())[0])


@pytest.mark.parametrize("values", [{"num_train_epochs": 1}, {"num_train_epochs": 3, "per_device_train_batch_size": 5}])
def test_rungs_are_the_same_for_any_length_and_batch(trainer: RungTrainer, values: dict[str, Any]) -> None:
    assert list(trainer.run(values, seed=1).curve) == [250, 500, 1000]


def test_scores_follow_from_values_and_seed_alone(trainer: RungTrainer) -> None:
    values = {"learning_rate": 1e-3}
    first = trainer.run(values, seed=3).curve
    trainer.run({"learning_rate": 1e-2, "weight_decay": 0.3, "num_train_epochs": 2}, seed=4)
    assert trainer.run(values, seed=3).curve == first
    assert trainer.run(values, seed=5).curve != first


def test_out_of_memory_halves_the_device_batch_and_keeps_the_effective_one(
    trainer: RungTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real training step, except that batches of more than four rows raise the error of a full device.
    step = RungTrainer.training_step

    def small_memory(self: RungTrainer, model: Any, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
        if len(inputs["labels"]) > 4:
            raise torch.OutOfMemoryError("no room")
        return step(self, model, inputs, *rest)

    whole = trainer.run({"learning_rate": 1e-3}, seed=1)
    monkeypatch.setattr(RungTrainer, "training_step", small_memory)
    split = trainer.run({"learning_rate": 1e-3, "per_device_train_batch_size": 16}, seed=1)
    assert (split.batch_split, split.device_batch, split.steps) == (4, 4, whole.steps)
    assert split.effective["per_device_train_batch_size"] == 16
    for rung, scores in whole.curve.items():
        assert split.curve[rung]["log_loss"] == pytest.approx(scores["log_loss"], abs=0.05)


def test_trial_is_infeasible_if_one_example_does_not_fit(trainer: RungTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(RungTrainer, "training_step", no_memory)
    with pytest.raises(TrialEnded, match="^infeasible: out of memory with one example at a time"):
        trainer.run({}, seed=1)
    assert trainer.measurements.batch_split == 16


def test_next_batch_split_is_even() -> None:
    assert [next_batch_split(16, split) for split in (1, 2, 8, 16)] == [2, 4, 16, None]
    assert [next_batch_split(15, split) for split in (1, 3, 5)] == [3, 15, 15]


def test_rungs_in_examples_count_only_whole_batches_with_drop_last(small: Path) -> None:
    # 96 rows in batches of 20: four whole batches, 80 examples, in each of the two epochs.
    overrides = ("search.rungs={every_examples=50}", "training.dataloader_drop_last=true")
    trainer = RungTrainer(prepare_context(load_study(small, overrides), SearchListener())[0])
    seen: list[tuple[int, int]] = []
    trainer.on_rung = lambda rung, scores, is_last: seen.append((rung, trainer.measurements.examples))
    trainer.run({"num_train_epochs": 2, "per_device_train_batch_size": 20}, seed=1)
    assert seen == [(50, 60), (100, 100), (150, 160)]


def test_rungs_in_examples_count_the_last_incomplete_batch(small: Path) -> None:
    trainer = RungTrainer(
        prepare_context(load_study(small, ("search.rungs={every_examples=50}",)), SearchListener())[0]
    )
    seen: list[tuple[int, int]] = []
    trainer.on_rung = lambda rung, scores, is_last: seen.append((rung, trainer.measurements.examples))
    trainer.run({"num_train_epochs": 2, "per_device_train_batch_size": 20}, seed=1)
    assert seen == [(50, 60), (100, 116), (150, 156), (192, 192)]
