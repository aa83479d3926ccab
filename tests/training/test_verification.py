"""Tests of verification: every sampled value is read back from the live run, and a deviation fails the trial."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import SpecError
from hpo.search.preflight import check_spec
from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.store.trial_state import UNVERIFIED
from hpo.study.spec import load_study
from hpo.training import trainer as trainer_module
from hpo.training.arguments import build_arguments
from hpo.training.checkpoint import Checkpoint
from hpo.training.measurements import TrialEnded
from hpo.training.searchable import SEARCHABLE
from hpo.training.trainer import RungTrainer


@pytest.fixture
def trainer(small: Path) -> RungTrainer:
    return RungTrainer(prepare_context(load_study(small), SearchListener())[0])


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


SCHEDULE_OPTIONS = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": '{"min_lr_rate": 0.3}'}


def test_every_searched_value_is_read_back_from_the_live_run(trainer: RungTrainer) -> None:
    assert VALUES.keys() | {"max_steps", "warmup_steps", "lr_scheduler_kwargs"} >= SEARCHABLE.keys()
    live = trainer.run(VALUES, seed=1).effective
    updates = math.ceil(2.5 * (96 // 8 // 2))
    assert live["max_steps"] == updates and live["warmup_steps"] == math.ceil(0.3 * updates)
    for name in VALUES.keys() - {"warmup_ratio"}:
        assert live[name] == VALUES[name], name
    assert trainer.run({"max_steps": 5, "warmup_steps": 2}, seed=1).effective["max_steps"] == 5
    assert trainer.run(SCHEDULE_OPTIONS, seed=1).effective.items() >= SCHEDULE_OPTIONS.items()


@pytest.mark.parametrize(
    "values",
    [
        {"lr_scheduler_type": "polynomial", "learning_rate": 3e-4, "warmup_ratio": 0.2},
        {"lr_scheduler_type": "inverse_sqrt", "warmup_ratio": 0.2},
        {"warmup_steps": 500.0},
        {"warmup_ratio": 0.9, "max_steps": 2},
    ],
)
def test_value_that_the_library_rounds_or_cuts_off_is_no_mismatch(trainer: RungTrainer, values: dict[str, Any]) -> None:
    assert list(trainer.run(values, seed=1).curve)[-1] == 1000


# What could happen to a value between the sampler and the run: it is dropped, cast or ignored.
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
    "lr_scheduler_kwargs": {"lr_scheduler_kwargs": '{"min_lr_rate": 0.1}'},
}


@pytest.mark.parametrize("name", TAMPERED)
def test_value_that_does_not_reach_the_run_fails_it(
    name: str, trainer: RungTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tampered(spec: Any, values: Any, *rest: Any) -> Any:
        changed = {key: value for key, value in values.items() if key != name} | TAMPERED[name]
        return build_arguments(spec, changed, *rest)

    monkeypatch.setattr(trainer_module, "build_arguments", tampered)
    with pytest.raises(TrialEnded, match=f"^{UNVERIFIED}: {name} was sampled as"):
        trainer.run(SCHEDULE_OPTIONS if name == "lr_scheduler_kwargs" else {name: VALUES[name]}, seed=1)
    assert trainer.measurements.steps <= 1


def test_resident_model_trains_in_the_precision_of_each_run(trainer: RungTrainer) -> None:
    def loss(bf16: bool) -> float:
        assert trainer.run({"bf16": bf16}, seed=1).effective["bf16"] is bf16
        return trainer.measurements.curve[1000]["loss"]

    first, plain, again = loss(True), loss(False), loss(True)
    assert first == again != plain


def test_model_that_accelerate_regards_as_prepared_fails_verification(
    trainer: RungTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.run({}, seed=1)
    reset = Checkpoint._reset

    def forgetful(self: Checkpoint, model: Any) -> None:
        reset(self, model)
        model._is_accelerate_prepared = True

    monkeypatch.setattr(Checkpoint, "_reset", forgetful)
    with pytest.raises(TrialEnded, match=f"^{UNVERIFIED}: bf16 was sampled as True, the live run has False"):
        trainer.run({"bf16": True}, seed=1)


def test_schedule_options_change_the_learning_rate(trainer: RungTrainer) -> None:
    rates: list[float] = []
    live: Any = trainer  # transformers is untyped: mypy takes the schedule for None
    trainer.on_progress = lambda step, steps, loss: rates.extend(live.lr_scheduler.get_last_lr() if loss else [])
    trainer.run({**SCHEDULE_OPTIONS, "learning_rate": 1e-3}, seed=1)
    assert rates[-1] == pytest.approx(0.3e-3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("training.lr_scheduler_type='constant'",), "has no effect with lr_scheduler_type constant, which has no"),
        ((), "is refused by the library: .* unexpected keyword argument 'min_lr_rate'"),
    ],
)
def test_schedule_options_that_no_schedule_takes_are_refused(
    small: Path, overrides: tuple[str, ...], message: str
) -> None:
    axis = """space.parameters.lr_scheduler_kwargs={choices=['{"min_lr_rate": 0.1}', '{"min_lr_rate": 0.3}']}"""
    with pytest.raises(SpecError, match=f"space.parameters.lr_scheduler_kwargs {message}"):
        check_spec(load_study(small, (axis, *overrides)))
    check_spec(load_study(small, (axis, "training.lr_scheduler_type='cosine_with_min_lr'")))
