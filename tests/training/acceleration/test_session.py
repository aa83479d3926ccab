"""Tests of AccelerationSession: on during a run unless speed is exact, and without traces in the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.study.spec import load_study
from hpo.training.acceleration.session import BATCH_LENGTHS, AccelerationSession
from hpo.training.context import RunContext
from hpo.training.trainer import RungTrainer


@pytest.fixture
def context(small: Path) -> RunContext:
    return prepare_context(load_study(small), SearchListener())[0]


def exact_session(context: RunContext) -> AccelerationSession:
    training = {**context.spec.training, "speed": "exact"}
    return AccelerationSession(context.spec.model_copy(update={"training": training}))


@pytest.mark.parametrize(("max_length", "multiple"), [(512, 64), (256, 32), (100, 16), (32, 8)])
def test_batches_on_a_gpu_have_few_lengths(context: RunContext, max_length: int, multiple: int) -> None:
    model = context.spec.model.model_copy(update={"max_length": max_length})
    session = AccelerationSession(context.spec.model_copy(update={"model": model}))
    collator = session.build_collator(context.checkpoint.tokenizer, torch.device("cuda"))
    widths = {collator([{"input_ids": [7] * length}])["input_ids"].shape[1] for length in range(1, max_length + 1)}
    assert widths == {min(max_length, multiple * (step + 1)) for step in range(-(-max_length // multiple))}
    assert len(widths) <= BATCH_LENGTHS


def test_batches_are_as_long_as_their_longest_text_on_a_cpu_or_with_speed_exact(context: RunContext) -> None:
    for session, device in ((AccelerationSession(context.spec), "cpu"), (exact_session(context), "cuda")):
        collator = session.build_collator(context.checkpoint.tokenizer, torch.device(device))
        assert collator([{"input_ids": [7] * 5}])["input_ids"].shape == (1, 5)


def test_validation_starts_with_its_longest_text(context: RunContext) -> None:
    order = AccelerationSession(context.spec).evaluation_order(context.validation)
    assert order and sorted(order) == list(range(len(context.validation)))
    lengths = [len(context.validation[row]["input_ids"]) for row in order]
    assert lengths == sorted(lengths, reverse=True)
    assert exact_session(context).evaluation_order(context.validation) is None


def test_model_caches_its_parameters_during_training(context: RunContext) -> None:
    seen: dict[str, Any] = {}
    trainer = RungTrainer(context)

    def pulse(step: int, steps: int, loss: float | None) -> None:
        seen["is cached"] = "parameters" in vars(trainer.model)
        seen["parameters"] = list(trainer.model.parameters())
        seen["direct"] = list(trainer.model.parameters(recurse=False))
        seen["count"] = trainer.model.num_parameters(), trainer.model.num_parameters(exclude_embeddings=True)

    trainer.on_progress = pulse
    trainer.run({"learning_rate": 1e-3}, seed=0)
    model = context.checkpoint.fresh()
    assert seen["is cached"] and "parameters" not in vars(model) and "num_parameters" not in vars(model)
    assert list(map(id, seen["parameters"])) == list(map(id, model.parameters())) and seen["direct"] == []
    assert seen["count"] == (model.num_parameters(), model.num_parameters(exclude_embeddings=True))
