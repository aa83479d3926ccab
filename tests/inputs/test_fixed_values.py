"""Values fixed in [training] are checked before the first trial and read back from the run, as sampled ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

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
from hpo.training.trainer import RungTrainer


def build_trainer(file: Path, *overrides: str) -> RungTrainer:
    return RungTrainer(prepare_context(load_study(file, overrides), SearchListener())[0])


@pytest.mark.skipif(torch.accelerator.is_available(), reason="fp16 is possible on an accelerator")
@pytest.mark.parametrize("override", ["training.fp16=true", "space.parameters.fp16={choices=[true, false]}"])
def test_half_precision_that_a_cpu_does_not_train_in_is_refused(small: Path, override: str) -> None:
    with pytest.raises(SpecError, match=r"fp16 has no effect on a CPU, which would train in float32; remove it"):
        check_spec(load_study(small, (override,)))


@pytest.mark.parametrize("name", ["warmup_ratio=0.1", "warmup_steps=5"])
def test_fixed_warmup_of_a_constant_schedule_is_refused(small: Path, name: str) -> None:
    with pytest.raises(SpecError, match=r"training.warmup_\w+ has no effect with lr_scheduler_type constant"):
        check_spec(load_study(small, (f"training.{name}", "training.lr_scheduler_type='constant'")))


FIXED: dict[str, tuple[str, dict[str, Any]]] = {  # name -> how it is fixed, and what reaches the run instead
    "weight_decay": ("0.07", {"weight_decay": 0.0}),
    "warmup_ratio": ("0.3", {"warmup_steps": 0}),
    "num_train_epochs": ("2", {"num_train_epochs": 1}),
    "per_device_train_batch_size": ("8", {"per_device_train_batch_size": 16}),
    "lr_scheduler_type": ("'cosine'", {"lr_scheduler_type": "linear"}),
    "label_smoothing_factor": ("0.1", {"label_smoothing_factor": 0.0}),
    "bf16": ("true", {"bf16": False}),
}


@pytest.mark.parametrize("name", FIXED)
def test_fixed_value_that_does_not_reach_the_run_fails_it(
    name: str, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, instead = FIXED[name]
    trainer = build_trainer(small, f"training.{name}={value}")
    assert trainer.run({}, seed=1).steps > 1

    def tampered(spec: Any, values: Any, *rest: Any) -> Any:
        training = {key: fixed for key, fixed in spec.training.items() if key != name} | instead
        return build_arguments(spec.model_copy(update={"training": training}), values, *rest)

    monkeypatch.setattr(trainer_module, "build_arguments", tampered)
    with pytest.raises(TrialEnded, match=rf"^{UNVERIFIED}: {name} is fixed in \[training\] as"):
        trainer.run({}, seed=1)
    assert trainer.measurements.steps <= 1


def test_fixed_field_of_the_model_that_does_not_reach_it_fails_the_run(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build_trainer(small, 'training."model.hidden_dropout_prob"=0.2')
    assert trainer.run({}, seed=1).steps > 1
    fresh = Checkpoint.fresh

    def tampered(self: Checkpoint, changes: Any = None) -> Any:
        model = fresh(self, changes)
        model.get_submodule("bert.embeddings.dropout").p = 0.3
        return model

    monkeypatch.setattr(Checkpoint, "fresh", tampered)
    with pytest.raises(TrialEnded, match=rf"^{UNVERIFIED}: model.hidden_dropout_prob is fixed .* the live run has 0.3"):
        trainer.run({}, seed=1)


@pytest.mark.parametrize(
    "overrides",
    [
        ("training.per_device_train_batch_size=500",),
        ("training.gradient_accumulation_steps=50",),
        ("training.max_steps=3", "training.num_train_epochs=7"),
        ("training.lr_scheduler_type='cosine_with_min_lr'", "training.lr_scheduler_kwargs={min_lr_rate=0.1}"),
        ("training.optim='adafactor'",),
    ],
)
def test_fixed_values_that_the_data_or_other_fields_limit_are_no_mismatch(
    small: Path, overrides: tuple[str, ...]
) -> None:
    assert build_trainer(small, *overrides).run({}, seed=1).steps > 0


def test_sampled_value_stands_for_the_fixed_one(small: Path) -> None:
    trainer = build_trainer(small, "training.weight_decay=0.07", "training.warmup_ratio=0.3")
    effective = trainer.run({"weight_decay": 0.01, "warmup_steps": 2}, seed=1).effective
    assert effective["weight_decay"] == 0.01 and effective["warmup_steps"] == 2


def test_fixed_field_that_no_module_uses_is_said(small: Path) -> None:
    notices = prepare_context(load_study(small, ('training."model.use_cache"=false',)), SearchListener())[1]["notices"]
    assert "training.model.use_cache has no effect: no module of builtin:tiny uses it" in notices
