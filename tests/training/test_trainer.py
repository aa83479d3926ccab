"""One run: rungs that mean the same everywhere, memory that gives way, values that are proven."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.search.search_listener import SearchListener
from hpo.search.worker import prepare_context
from hpo.study.spec import load_study
from hpo.training import arguments
from hpo.training.checkpoint import Checkpoint
from hpo.training.measurements import TrialEnded
from hpo.training.trainer import RungTrainer
from hpo.training.verification import LIVE_READERS


@pytest.fixture
def trainer(small: Path) -> RungTrainer:
    return RungTrainer(prepare_context(load_study(small), SearchListener())[0])


@pytest.mark.parametrize("values", [{"num_train_epochs": 1}, {"num_train_epochs": 3, "per_device_train_batch_size": 5}])
def test_trials_of_any_length_and_batch_have_the_same_rungs(trainer: RungTrainer, values: dict[str, Any]) -> None:
    assert list(trainer.run(values, seed=1).curve) == [250, 500, 1000]


def test_the_same_values_and_seed_give_the_same_scores_whatever_ran_before(trainer: RungTrainer) -> None:
    values = {"learning_rate": 1e-3}
    first = trainer.run(values, seed=3).curve
    trainer.run({"learning_rate": 1e-2, "weight_decay": 0.3, "num_train_epochs": 2}, seed=4)
    assert trainer.run(values, seed=3).curve == first
    assert trainer.run(values, seed=5).curve != first


def test_out_of_memory_halves_the_device_batch_and_keeps_the_effective_one(
    trainer: RungTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only a device of a few bytes runs out on demand; the step is the real one, but for batches that "do not fit".
    step = RungTrainer.training_step

    def small_memory(self: RungTrainer, model: Any, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
        if len(inputs["labels"]) > 4:
            raise torch.OutOfMemoryError("no room")
        return step(self, model, inputs, *rest)

    whole = trainer.run({"learning_rate": 1e-3}, seed=1)
    monkeypatch.setattr(RungTrainer, "training_step", small_memory)
    split = trainer.run({"learning_rate": 1e-3, "per_device_train_batch_size": 16}, seed=1)
    assert (split.split, split.device_batch, split.steps) == (4, 4, whole.steps)
    assert split.effective["per_device_train_batch_size"] == 16
    for rung, scores in whole.curve.items():
        assert split.curve[rung]["log_loss"] == pytest.approx(scores["log_loss"], abs=0.05)


def test_below_one_example_it_is_infeasible(trainer: RungTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(RungTrainer, "training_step", no_memory)
    with pytest.raises(TrialEnded, match="^infeasible: out of memory with one example at a time"):
        trainer.run({}, seed=1)
    assert trainer.record.split == 16


def test_a_batch_is_split_evenly() -> None:
    assert [arguments.next_batch_split(16, split) for split in (1, 2, 8, 16)] == [2, 4, 16, None]
    assert [arguments.next_batch_split(15, split) for split in (1, 3, 5)] == [3, 15, 15]


VALUES = {
    "learning_rate": 3e-4,
    "weight_decay": 0.07,
    "warmup_ratio": 0.3,
    "num_train_epochs": 2.5,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 2,
    "lr_scheduler_type": "cosine",
    "optim": "adamw_torch",
    "adam_beta1": 0.8,
    "adam_beta2": 0.98,
    "adam_epsilon": 1e-7,
    "max_grad_norm": 0.5,
    "label_smoothing_factor": 0.1,
    "neftune_noise_alpha": 3.0,
    "bf16": True,
    "fp16": False,
    "dataloader_drop_last": True,
    "train_sampling_strategy": "group_by_length",
    "model.hidden_dropout_prob": 0.2,
}


def test_every_searchable_field_has_a_reader_and_every_reader_is_searchable() -> None:
    assert LIVE_READERS.keys() | {"warmup_ratio"} == arguments.SEARCHABLE


def test_every_searched_value_is_read_back_from_the_live_run(trainer: RungTrainer) -> None:
    assert VALUES.keys() | {"max_steps", "warmup_steps"} >= arguments.SEARCHABLE
    live = trainer.run(VALUES, seed=1).effective
    updates = math.ceil(2.5 * (96 // 8 // 2))
    assert live["max_steps"] == updates and live["warmup_steps"] == math.ceil(0.3 * updates)
    for name in VALUES.keys() - {"warmup_ratio"}:
        assert live[name] == VALUES[name], name
    assert trainer.run({"max_steps": 5, "warmup_steps": 2}, seed=1).effective["max_steps"] == 5


@pytest.mark.parametrize(
    "values",
    [
        {"lr_scheduler_type": "polynomial", "learning_rate": 3e-4, "warmup_ratio": 0.2},
        {"lr_scheduler_type": "inverse_sqrt", "warmup_ratio": 0.2},
        {"warmup_steps": 500.0},
        {"warmup_ratio": 0.9, "max_steps": 2},
    ],
)
def test_what_runs_as_it_should_is_not_taken_for_a_mismatch(trainer: RungTrainer, values: dict[str, Any]) -> None:
    assert list(trainer.run(values, seed=1).curve)[-1] == 1000


# What the plain library does to values on their way: drops, casts, ignores. Each must be found out.
TAMPERED: dict[str, dict[str, Any]] = {
    "learning_rate": {"learning_rate": 1e-5},
    "weight_decay": {"weight_decay": 0.0},
    "warmup_ratio": {"warmup_steps": 0},
    "num_train_epochs": {"num_train_epochs": 1},
    "per_device_train_batch_size": {"per_device_train_batch_size": 16},
    "gradient_accumulation_steps": {"gradient_accumulation_steps": 1},
    "lr_scheduler_type": {"lr_scheduler_type": "linear"},
    "optim": {"optim": "adafactor"},
    "adam_beta1": {"adam_beta1": 0.9},
    "adam_beta2": {"adam_beta2": 0.999},
    "adam_epsilon": {"adam_epsilon": 1e-8},
    "max_grad_norm": {"max_grad_norm": 1.0},
    "label_smoothing_factor": {"label_smoothing_factor": 0.0},
    "neftune_noise_alpha": {"neftune_noise_alpha": None},
    "bf16": {"bf16": False},
    "dataloader_drop_last": {"dataloader_drop_last": False},
    "train_sampling_strategy": {"train_sampling_strategy": "random"},
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_value_that_does_not_reach_the_run_fails_it(
    name: str, trainer: RungTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = arguments.build_arguments

    def tampered(spec: Any, values: Any, *rest: Any) -> Any:
        changed = {key: value for key, value in values.items() if key != name} | TAMPERED[name]
        return build(spec, changed, *rest)

    monkeypatch.setattr(arguments, "build_arguments", tampered)
    with pytest.raises(TrialEnded, match=f"^unproven: {name} was sampled as"):
        trainer.run({name: VALUES[name]}, seed=1)
    assert trainer.record.steps <= 1


def test_the_resident_model_takes_each_runs_own_precision(trainer: RungTrainer) -> None:
    def loss(bf16: bool) -> float:
        assert trainer.run({"bf16": bf16}, seed=1).effective["bf16"] is bf16
        return trainer.record.curve[1000]["loss"]

    first, plain, again = loss(True), loss(False), loss(True)
    assert first == again != plain


def test_a_model_that_accelerate_took_for_prepared_is_found_out(
    trainer: RungTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.run({}, seed=1)
    reset = Checkpoint._reset

    def forgetful(self: Checkpoint, model: Any) -> None:
        reset(self, model)
        model._is_accelerate_prepared = True

    monkeypatch.setattr(Checkpoint, "_reset", forgetful)
    with pytest.raises(TrialEnded, match="^unproven: bf16 was sampled as True, the live run has False"):
        trainer.run({"bf16": True}, seed=1)
