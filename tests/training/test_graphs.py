"""Recorded passes train the same model; what cannot be recorded is trained without. All of it needs an NVIDIA GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.search.listener import Listener
from hpo.search.worker import prepare
from hpo.study.spec import load
from hpo.training import model as models
from hpo.training.graphs import Graphs
from hpo.training.trainer import RungTrainer

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need an NVIDIA GPU")
VALUES = {"learning_rate": 1e-3, "num_train_epochs": 2}


@pytest.fixture
def trainer(small: Path, tmp_path: Path) -> RungTrainer:
    """Over a checkpoint in a folder, whose weights stay where they are from run to run."""
    start = prepare(load(small), Listener())[0].checkpoint
    torch.manual_seed(0)
    models.save(start.fresh(), start.tokenizer, tmp_path / "start")
    small.write_text(small.read_text().replace("builtin:tiny", str(tmp_path / "start")))
    return RungTrainer(prepare(load(small), Listener())[0])


def recorded(trainer: RungTrainer) -> dict[Any, Any]:
    return trainer._shortcuts._graphs._passes


def losses(trainer: RungTrainer, seed: int = 1, **values: Any) -> list[float]:
    return [scores["log_loss"] for scores in trainer.run({**VALUES, **values}, seed).curve.values()]


@needs_gpu
def test_recorded_passes_train_what_others_train(trainer: RungTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    dropout = {"model.hidden_dropout_prob": 0.1}
    own = losses(trainer, **dropout)
    assert recorded(trainer)
    trainer._shortcuts.forget()
    monkeypatch.setattr(Graphs, "run", lambda *_: None)
    assert own == pytest.approx(losses(trainer, **dropout), abs=5e-3) and not recorded(trainer)


@needs_gpu
def test_the_next_run_takes_the_recordings_of_the_last(trainer: RungTrainer) -> None:
    first = losses(trainer)
    there = dict(recorded(trainer))
    losses(trainer, seed=2, learning_rate=1e-2, weight_decay=0.1)
    assert losses(trainer) == pytest.approx(first, abs=5e-3)
    assert recorded(trainer).items() >= there.items()


@needs_gpu
def test_another_loss_or_precision_is_recorded_anew(trainer: RungTrainer) -> None:
    losses(trainer)
    there = set(map(id, recorded(trainer).values()))
    losses(trainer, label_smoothing_factor=0.2)
    assert recorded(trainer) and not there & set(map(id, recorded(trainer).values()))


@needs_gpu
def test_accumulated_passes_add_up(trainer: RungTrainer) -> None:
    still = {"model.hidden_dropout_prob": 0.0, "model.attention_probs_dropout_prob": 0.0}
    whole = losses(trainer, **still)
    parts = losses(trainer, per_device_train_batch_size=8, gradient_accumulation_steps=2, **still)
    assert recorded(trainer) and parts == pytest.approx(whole, abs=2e-2)


@needs_gpu
def test_a_model_that_waits_for_the_gpu_is_trained_without(trainer: RungTrainer) -> None:
    model = trainer.task.checkpoint.fresh()
    waits = model.base_model.embeddings.register_forward_hook(lambda module, inputs, out: out * float(out.sum() < 1e9))
    own = losses(trainer)
    waits.remove()
    assert not recorded(trainer) and trainer._shortcuts._graphs._refused
    draws = torch.rand(3, 4, device="cuda")
    assert len(draws.unique()) == 12
    trainer._shortcuts.forget()
    assert losses(trainer) == pytest.approx(own, abs=5e-3) and recorded(trainer)


@needs_gpu
def test_out_of_memory_lets_go_of_recordings(trainer: RungTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    losses(trainer)
    run = Graphs.run

    def small_memory(self: Graphs, one_pass: Any, inputs: Any, examples: Any) -> Any:
        if len(inputs["labels"]) > 8:
            raise torch.OutOfMemoryError("no room")
        return run(self, one_pass, inputs, examples)

    monkeypatch.setattr(Graphs, "run", small_memory)
    losses(trainer)
    assert trainer.record.split == 2
    assert {shape[0][1][0] for shape in recorded(trainer)} == {8}


def test_what_was_recorded_is_kept_for_the_same_model_and_the_same_ways() -> None:
    graphs, model = Graphs(), torch.nn.Linear(2, 2)
    graphs.hold(model, {"bf16": True})
    graphs._passes["a shape"] = "a pass"  # type: ignore[assignment]
    graphs.hold(model, {"bf16": True})
    assert graphs._passes
    for another in ((torch.nn.Linear(2, 2), {"bf16": True}), (model, {"bf16": False})):
        graphs.hold(model, {"bf16": True})
        graphs._passes["a shape"] = "a pass"  # type: ignore[assignment]
        graphs.hold(*another)
        assert not graphs._passes
    graphs.hold(model, {"bf16": True})
    graphs._passes["a shape"] = "a pass"  # type: ignore[assignment]
    model.weight.data = model.weight.data.clone()
    graphs.hold(model, {"bf16": True})
    assert not graphs._passes
