"""Tests of accelerations: never what the study decides itself, the same for all of its trials, and verified."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hpo.errors import SpecError
from hpo.search.engines import run_search
from hpo.search.preflight import check_spec
from hpo.search.search_listener import SearchListener
from hpo.search.setup import open_search, prepare_context
from hpo.study.spec import load_study
from hpo.training.acceleration import presets
from hpo.training.arguments import build_arguments
from hpo.training.measurements import TrialEnded
from hpo.training.model_fields import FieldEffect
from hpo.training.searchable import SEARCHABLE
from hpo.training.tiny_model import TINY_CONFIG
from hpo.training.trainer import RungTrainer

ALL = {
    "train_sampling_strategy": "group_by_length",
    "bf16": True,
    "model.attention_probs_dropout_prob": 0.0,
}


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the processor multiplies in bfloat16, and give builtin:tiny dropout and enough width for it."""
    monkeypatch.setattr(presets, "has_bf16_instructions", lambda: True)
    monkeypatch.setattr(presets, "MIN_BF16_WIDTH", TINY_CONFIG["hidden_size"])
    monkeypatch.setitem(TINY_CONFIG, "attention_probs_dropout_prob", 0.1)


def accelerations(file: Path, *overrides: str) -> dict[str, Any]:
    return dict(prepare_context(load_study(file, overrides), SearchListener())[0].accelerations)


def test_auto_uses_the_accelerations_of_this_device(small: Path, wide: None) -> None:
    assert accelerations(small) == accelerations(small, 'training.speed="auto"') == ALL
    assert accelerations(small, 'training.speed="exact"') == {}


def test_bfloat16_is_used_only_if_the_processor_multiplies_in_it(
    small: Path, wide: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "has_bf16_instructions", lambda: False)
    assert "bf16" not in accelerations(small)


def test_accelerations_of_any_device_can_be_verified_on_another(
    small: Path, wide: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    for name, value in [*presets._choose_for_cuda().items(), *accelerations(small).items()]:
        if not name.startswith("model."):
            assert name in SEARCHABLE
            assert getattr(build_arguments(load_study(small), {name: value}), name) == value


@pytest.mark.parametrize(("implementation", "is_governed"), [("sdpa", True), ("sdpa", False), ("eager", True)])
def test_attention_keeps_its_dropout_unless_it_is_fused_and_runs_can_verify_it(
    implementation: str, is_governed: bool
) -> None:
    checkpoint: Any = SimpleNamespace(
        fresh=lambda changes: SimpleNamespace(config=SimpleNamespace(_attn_implementation=implementation)),
        field_effect=lambda field, value: FieldEffect((("attention.dropout", "p"),) * is_governed, is_used=True),
    )
    can_fuse = presets._can_fuse_attention(checkpoint, {"attention_dropout": 0.0})
    assert can_fuse == (implementation == "sdpa" and is_governed)


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("training.bf16=false", "bf16"),
        ("training.fp16=false", "bf16"),
        ("space.parameters.bf16={choices=[true, false]}", "bf16"),
        ('training.train_sampling_strategy="random"', "train_sampling_strategy"),
        ('training."model.attention_probs_dropout_prob"=0.2', "model.attention_probs_dropout_prob"),
        ('space.parameters."model.attention_probs_dropout_prob"={choices=[0.2]}', "model.attention_probs_dropout_prob"),
    ],
)
def test_fields_that_the_study_sets_are_left_alone(small: Path, wide: None, override: str, field: str) -> None:
    assert accelerations(small, override) == {name: value for name, value in ALL.items() if name != field}


def test_unknown_speed_is_refused(small: Path) -> None:
    with pytest.raises(SpecError, match='training.speed is "fast"; known: auto, exact'):
        check_spec(load_study(small, ('training.speed="fast"',)))


def test_trials_verify_accelerations_and_the_study_keeps_them(
    small: Path, wide: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{small.parent}/store.db"
    study = run_search(load_study(small, ("search.trials=1",)), url, SearchListener())
    assert study.user_attrs["speed"] == ALL
    assert study.trials[0].user_attrs["effective"].items() >= ALL.items()
    monkeypatch.setattr(presets, "has_bf16_instructions", lambda: False)  # as on another machine
    assert open_search(load_study(small, ("search.trials=2",)), url, SearchListener())[0].accelerations == ALL


def test_auto_is_the_default_and_exact_is_another_study(small: Path) -> None:
    plain = load_study(small)
    assert load_study(small, ('training.speed="auto"',)).hash() == plain.hash()
    assert load_study(small, ('training.speed="exact"',)).hash() != plain.hash()


def test_evaluation_order_changes_no_score(small: Path) -> None:
    curves = []
    for chosen in ("auto", "exact"):
        context, _ = prepare_context(
            load_study(small, (f'training.speed="{chosen}"', 'training.train_sampling_strategy="random"')),
            SearchListener(),
        )
        trainer = RungTrainer(context)
        curves.append(trainer.run({"learning_rate": 1e-2}, seed=1).curve)
        order = list(trainer._get_eval_sampler(context.validation))
        assert (list(context.validation.lengths[order]) == sorted(context.validation.lengths, reverse=True)) == (
            chosen == "auto"
        )
    for one, other in zip(*(curve.values() for curve in curves), strict=True):
        assert one["accuracy"] == other["accuracy"] and one["loss"] == pytest.approx(other["loss"], abs=1e-5)


def test_loss_that_is_not_finite_between_two_readings_is_found_at_the_next(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = RungTrainer(prepare_context(load_study(small, ("search.rungs=1",)), SearchListener())[0])
    losses = RungTrainer.compute_loss
    seen = []

    def once_infinite(self: RungTrainer, *rest: Any, **more: Any) -> torch.Tensor:
        self.counters.read_every = 4  # as on an accelerator, which each reading synchronizes
        seen.append(self.state.global_step)
        loss: torch.Tensor = losses(self, *rest, **more)
        return loss + torch.inf if len(seen) == 2 else loss

    monkeypatch.setattr(RungTrainer, "compute_loss", once_infinite)
    with pytest.raises(TrialEnded, match="diverged: the loss is not finite within 4 steps before step 4"):
        trainer.run({"learning_rate": 1e-4}, seed=1)
    assert len(seen) == 4


def test_field_of_the_model_can_be_fixed(small: Path) -> None:
    task, _ = prepare_context(load_study(small, ('training."model.hidden_dropout_prob"=0.3',)), SearchListener())
    trainer = RungTrainer(task)
    trainer.run({"learning_rate": 1e-3}, seed=1)
    assert trainer.model.config.hidden_dropout_prob == 0.3
    with pytest.raises(SpecError, match=r"training.model.hidden_dropout is unknown; did you mean hidden_dropout_prob"):
        prepare_context(load_study(small, ('training."model.hidden_dropout"=0.3',)), SearchListener())
    both = (
        'training."model.hidden_dropout_prob"=0.3',
        'space.parameters."model.hidden_dropout_prob"={low=0.0,high=0.3}',
    )
    with pytest.raises(SpecError, match="is fixed in .training. as model.hidden_dropout_prob too"):
        check_spec(load_study(small, both))
