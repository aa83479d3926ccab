"""Short ways are gone for the length of a run, in any study but an exact one, and leave a model as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.search.search_listener import SearchListener
from hpo.search.worker import prepare_context
from hpo.study.spec import load_study
from hpo.training.acceleration.session import BATCH_LENGTHS, AccelerationSession
from hpo.training.context import RunContext
from hpo.training.trainer import RungTrainer


@pytest.fixture
def task(small: Path) -> RunContext:
    return prepare_context(load_study(small), SearchListener())[0]


def exact(task: RunContext) -> AccelerationSession:
    return AccelerationSession(task.spec.model_copy(update={"training": {**task.spec.training, "speed": "exact"}}))


@pytest.mark.parametrize(("most", "multiple"), [(512, 64), (256, 32), (100, 16), (32, 8)])
def test_batches_on_a_gpu_are_of_few_lengths(task: RunContext, most: int, multiple: int) -> None:
    model = task.spec.model.model_copy(update={"max_length": most})
    shortcuts = AccelerationSession(task.spec.model_copy(update={"model": model}))
    padding = shortcuts.padding(task.checkpoint.tokenizer, torch.device("cuda"))
    widths = {padding([{"input_ids": [7] * length}])["input_ids"].shape[1] for length in range(1, most + 1)}
    assert widths == {min(most, multiple * (step + 1)) for step in range(-(-most // multiple))}
    assert len(widths) <= BATCH_LENGTHS


def test_batches_are_as_long_as_their_longest_text_on_a_cpu_and_in_an_exact_study(task: RunContext) -> None:
    for shortcuts, device in ((AccelerationSession(task.spec), "cpu"), (exact(task), "cuda")):
        padding = shortcuts.padding(task.checkpoint.tokenizer, torch.device(device))
        assert padding([{"input_ids": [7] * 5}])["input_ids"].shape == (1, 5)


def test_validation_is_read_from_its_longest_text_on(task: RunContext) -> None:
    order = AccelerationSession(task.spec).order(task.validation)
    assert order and sorted(order) == list(range(len(task.validation)))
    lengths = [len(task.validation[row]["input_ids"]) for row in order]
    assert lengths == sorted(lengths, reverse=True)
    assert exact(task).order(task.validation) is None


def test_a_model_has_its_parameters_at_hand_while_it_trains(task: RunContext) -> None:
    seen: dict[str, Any] = {}
    trainer = RungTrainer(task)

    def look(step: int, steps: int, loss: float | None) -> None:
        seen["is listed"] = "parameters" in vars(trainer.model)
        seen["parameters"] = list(trainer.model.parameters())
        seen["own"] = list(trainer.model.parameters(recurse=False))
        seen["count"] = trainer.model.num_parameters(), trainer.model.num_parameters(exclude_embeddings=True)

    trainer.pulse = look
    trainer.run({"learning_rate": 1e-3}, seed=0)
    model = task.checkpoint.fresh()
    assert seen["is listed"] and "parameters" not in vars(model) and "num_parameters" not in vars(model)
    assert list(map(id, seen["parameters"])) == list(map(id, model.parameters())) and seen["own"] == []
    assert seen["count"] == (model.num_parameters(), model.num_parameters(exclude_embeddings=True))
