"""Every architecture of the table goes the whole way, from a checkpoint to predictions, as plain transformers does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, set_seed

from hpo.study.spec import ModelSpec
from hpo.training.checkpoint import Checkpoint
from tests.architectures.architectures import ARCHITECTURES, MAX_LENGTH, save_checkpoint

EVERY_ARCHITECTURE = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if row.is_fast else pytest.mark.long) for name, row in ARCHITECTURES.items()]
)


@EVERY_ARCHITECTURE
def test_new_head_is_that_of_from_pretrained_bit_for_bit(tmp_path: Path, name: str) -> None:
    folder = save_checkpoint(name, tmp_path / "checkpoint")
    checkpoint = Checkpoint(ModelSpec(checkpoint=str(folder), max_length=MAX_LENGTH), [], ("a", "b", "c"))
    config: Any = copy.deepcopy(checkpoint.config)
    set_seed(5)
    expected = AutoModelForSequenceClassification.from_pretrained(folder, config=config).state_dict()
    for _ in range(2):  # of a new model, and of one that has been trained
        set_seed(5)
        model = checkpoint.fresh()
        state = model.state_dict()
        assert state.keys() == expected.keys()
        assert [key for key in expected if not torch.equal(state[key], expected[key])] == []
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
