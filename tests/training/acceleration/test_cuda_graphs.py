"""Tests of CudaGraphs: recorded passes give the same gradients; a model that cannot be recorded trains without.

Without an NVIDIA GPU a stand-in for a graph runs the pass again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.study.spec import load_study
from hpo.training.acceleration.cuda_graphs import CudaGraphs
from hpo.training.acceleration.session import AccelerationSession
from hpo.training.checkpoint import save_model
from hpo.training.trainer import RungTrainer

HAS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if HAS_GPU else "cpu")
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="CUDA graphs need an NVIDIA GPU")
VALUES = {"learning_rate": 1e-3, "num_train_epochs": 2}


class FakeGraph:
    """A stand-in for a graph: it runs the work whenever it is replayed."""

    def __init__(self, work: Callable[[], torch.Tensor]) -> None:
        self.work, self.loss = work, torch.zeros(())

    def replay(self) -> None:
        self.loss.copy_(self.work())

    def pool(self) -> None: ...


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> CudaGraphs:
    if not HAS_GPU:
        fork = torch.random.fork_rng

        def capture(self: CudaGraphs, work: Callable[[], torch.Tensor]) -> Any:
            graph = FakeGraph(work)
            return graph, graph.loss

        monkeypatch.setattr(CudaGraphs, "_capture", capture)
        monkeypatch.setattr(CudaGraphs, "_run_on_side_stream", staticmethod(lambda work: work()))
        monkeypatch.setattr(torch.random, "fork_rng", lambda devices: fork(devices=[]))
    return CudaGraphs()


class Model(torch.nn.Module):
    """Two layers, and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.unused = torch.nn.Linear(4, 8), torch.nn.Linear(8, 2), torch.nn.Linear(3, 3)
        self.to(DEVICE)

    def one_pass(self, inputs: dict[str, torch.Tensor], examples: torch.Tensor) -> torch.Tensor:
        out = self.last(torch.tanh(self.first(inputs["features"])))
        loss = torch.nn.functional.cross_entropy(out, inputs["labels"], reduction="sum") / examples
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def gradients(self) -> dict[str, torch.Tensor | None]:
        gradients = {name: weight.grad for name, weight in self.named_parameters()}
        copies = {name: None if each is None else each.clone() for name, each in gradients.items()}
        self.zero_grad()
        return copies


def batch(rows: int, seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    features, labels = torch.randn(rows, 4, generator=draw), torch.randint(2, (rows,), generator=draw)
    return {"features": features.to(DEVICE), "labels": labels.to(DEVICE)}


def count(examples: int) -> torch.Tensor:
    return torch.tensor(float(examples), device=DEVICE)


def recorded_step(
    graphs: CudaGraphs, model: Model, *batches: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor | None]:
    """Return the gradients of one step over these batches, each of which must be recorded."""
    examples = count(sum(len(each["labels"]) for each in batches))
    for each in batches:
        assert graphs.run(model.one_pass, each, examples) is not None
    return model.gradients()


def plain_step(model: Model, *batches: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | None]:
    for each in batches:
        model.one_pass(each, count(sum(len(each["labels"]) for each in batches)))
    return model.gradients()


def test_replayed_pass_gives_the_loss_and_gradients_of_its_batch(graphs: CudaGraphs) -> None:
    model = Model()
    graphs.prepare_for(model)
    for seed in range(3):
        torch.testing.assert_close(recorded_step(graphs, model, batch(6, seed)), plain_step(model, batch(6, seed)))
        plain = model.one_pass(batch(6, seed), count(6))
        model.zero_grad()
        torch.testing.assert_close(graphs.run(model.one_pass, batch(6, seed), count(6)), plain)
        model.zero_grad()
    assert len(graphs._passes) == 1


def test_unused_weights_have_no_gradient(graphs: CudaGraphs) -> None:
    model = Model()
    graphs.prepare_for(model)
    gradients = recorded_step(graphs, model, batch(6, 0))
    assert {name for name, each in gradients.items() if each is None} == {"unused.weight", "unused.bias"}


def test_replayed_pass_uses_the_current_weights(graphs: CudaGraphs) -> None:
    model = Model()
    graphs.prepare_for(model)
    before = recorded_step(graphs, model, batch(6, 0))["first.weight"]
    with torch.no_grad():
        for each in model.parameters():
            each.add_(0.5)
    after = recorded_step(graphs, model, batch(6, 0))
    torch.testing.assert_close(after, plain_step(model, batch(6, 0)))
    assert before is not None and not torch.allclose(before, after["first.weight"])  # type: ignore[arg-type]


def test_gradients_of_one_step_add_up_over_shapes(graphs: CudaGraphs) -> None:
    model = Model()
    graphs.prepare_for(model)
    parts = batch(6, 0), batch(4, 1), batch(6, 2)  # the second is recorded in the middle of a step
    for _ in range(2):
        torch.testing.assert_close(recorded_step(graphs, model, *parts), plain_step(model, *parts))


def test_plain_pass_can_end_a_step_but_a_step_that_it_begins_stays_plain(graphs: CudaGraphs) -> None:
    model = Model()
    graphs.prepare_for(model)
    graphs.run(model.one_pass, batch(6, 0), count(10))
    model.one_pass(batch(4, 1), count(10))
    torch.testing.assert_close(model.gradients(), plain_step(model, batch(6, 0), batch(4, 1)))
    model.one_pass(batch(4, 1), count(10))
    assert graphs.run(model.one_pass, batch(6, 0), count(10)) is None
    model.zero_grad()
    torch.testing.assert_close(recorded_step(graphs, model, batch(6, 0)), plain_step(model, batch(6, 0)))


def test_recording_draws_no_random_numbers(graphs: CudaGraphs) -> None:
    model = Model()
    graphs.prepare_for(model)
    torch.manual_seed(3)
    graphs.run(lambda inputs, examples: model.one_pass(inputs, examples), batch(6, 0), count(6))
    drawn = torch.rand(3, device=DEVICE)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(3, device=DEVICE), drawn)


def test_pass_with_a_random_choice_on_the_cpu_is_not_recorded(graphs: CudaGraphs) -> None:
    model = Model()
    graphs.prepare_for(model)

    def drops_layers(inputs: dict[str, torch.Tensor], examples: torch.Tensor) -> torch.Tensor:
        return model.one_pass(inputs, examples) * (float(torch.rand(())) < 2)

    assert graphs.run(drops_layers, batch(6, 0), count(6)) is None and graphs.is_disabled
    assert all(each is None for each in model.gradients().values())


def test_recorded_passes_are_kept_for_the_same_model_and_conditions(graphs: CudaGraphs) -> None:
    model = Model()
    conditions = {"bf16": True}
    graphs.prepare_for(model, conditions)
    recorded_step(graphs, model, batch(6, 0))
    graphs.prepare_for(model, dict(conditions))
    assert graphs._passes
    graphs.prepare_for(model, {"bf16": False})
    assert not graphs._passes
    recorded_step(graphs, model, batch(6, 0))
    model.first.weight.data = model.first.weight.data.clone()
    graphs.prepare_for(model, {"bf16": False})
    assert not graphs._passes
    recorded_step(graphs, model, batch(6, 0))
    graphs.prepare_for(another := Model(), {"bf16": False})
    assert not graphs._passes
    recorded_step(graphs, another, batch(6, 0))


def test_recorded_passes_are_freed_with_their_model(graphs: CudaGraphs) -> None:
    graphs.prepare_for(model := Model())
    graphs._passes["a shape"] = "a pass"  # type: ignore[assignment]
    del model
    gc.collect()
    assert not graphs._passes


@pytest.fixture
def trainer(small: Path, tmp_path: Path) -> RungTrainer:
    """A trainer with SGD over a checkpoint in a folder, whose weights keep their addresses from run to run."""
    start = prepare_context(load_study(small), SearchListener())[0].checkpoint
    torch.manual_seed(0)
    save_model(start.fresh(), start.tokenizer, tmp_path / "start")
    text = small.read_text().replace("builtin:tiny", str(tmp_path / "start")) + 'optim = "sgd"\nbf16 = false\n'
    small.write_text(text.replace("high = 1e-2", "high = 1.0"))
    return RungTrainer(prepare_context(load_study(small), SearchListener())[0])


def recorded_passes(trainer: RungTrainer) -> dict[Any, Any]:
    return trainer._acceleration._graphs._passes


def train(trainer: RungTrainer, seed: int = 1, **values: Any) -> torch.Tensor:
    """Return all weights after a run whose steps are large enough to compare."""
    trainer.run({"learning_rate": 0.3, "num_train_epochs": 2, **values}, seed)
    return torch.cat([each.detach().flatten().cpu() for each in trainer.context.checkpoint._resident.parameters()])  # type: ignore[union-attr]


@needs_gpu
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_run_trains_the_weights_that_one_without_recordings_trains(trainer: RungTrainer, dropout: float) -> None:
    field: dict[str, Any] = {"model.hidden_dropout_prob": dropout, "model.attention_probs_dropout_prob": dropout}
    expected = train(trainer, **field)
    assert recorded_passes(trainer)
    assert not torch.allclose(expected, train(trainer, seed=2, **field), atol=1e-2)
    torch.testing.assert_close(train(trainer, **field), expected, atol=1e-3, rtol=1e-3)
    trainer._acceleration._graphs.disable()
    torch.testing.assert_close(train(trainer, **field), expected, atol=1e-3, rtol=1e-3)


@needs_gpu
def test_smoothed_loss_is_recorded_again_but_an_accumulated_one_is_not(trainer: RungTrainer) -> None:
    train(trainer)
    there = set(map(id, recorded_passes(trainer).values()))
    whole = train(trainer, gradient_accumulation_steps=2)
    assert there & set(map(id, recorded_passes(trainer).values()))
    torch.testing.assert_close(train(trainer, per_device_train_batch_size=32), whole, atol=1e-3, rtol=1e-3)
    train(trainer, label_smoothing_factor=0.2)
    assert recorded_passes(trainer) and not there & set(map(id, recorded_passes(trainer).values()))


@needs_gpu
def test_model_that_waits_for_the_gpu_is_trained_without_graphs(trainer: RungTrainer) -> None:
    model = trainer.context.checkpoint.fresh()
    waits = model.base_model.embeddings.register_forward_hook(lambda module, inputs, out: out * float(out.sum() < 1e9))
    expected = train(trainer)
    waits.remove()
    assert not recorded_passes(trainer) and trainer._acceleration._graphs.is_disabled
    draws = torch.rand(3, 4, device="cuda")
    assert len(draws.unique()) == 12
    torch.testing.assert_close(train(RungTrainer(trainer.context)), expected, atol=1e-3, rtol=1e-3)


@needs_gpu
def test_loader_processes_do_not_disturb_a_recording(trainer: RungTrainer) -> None:
    expected = train(trainer)
    again = RungTrainer(trainer.context)
    torch.testing.assert_close(train(again, dataloader_num_workers=2), expected, atol=1e-3, rtol=1e-3)
    assert recorded_passes(again)


@needs_gpu
def test_out_of_memory_first_releases_recordings(trainer: RungTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(CudaGraphs, "_capture", no_memory)
    train(trainer)
    assert trainer.measurements.batch_split == 1 and trainer._acceleration._graphs.is_disabled


def test_only_a_run_with_recordings_restarts_with_the_same_batch(trainer: RungTrainer) -> None:
    session = AccelerationSession(trainer.context.spec)
    model, texts = trainer.context.checkpoint.fresh(), trainer.data_collator([trainer.context.train[0]])
    with session.accelerate(model, texts, {}, recorded_batch=16):
        assert not session.release_recordings()
    with session.accelerate(model, texts, {}, recorded_batch=16):
        session._has_recorded = True
        assert session.release_recordings()
    with session.accelerate(model, texts, {}, recorded_batch=16):
        assert not session.release_recordings()
