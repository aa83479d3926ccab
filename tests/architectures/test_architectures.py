"""Every architecture of the table goes the whole way, from a checkpoint to predictions, as plain transformers does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, pipeline, set_seed

from hpo.predict import load_predictor
from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.study.spec import load_study
from hpo.study.spec_tables import ModelSpec
from hpo.training.checkpoint import Checkpoint
from hpo.training.inference import mean_embeddings
from hpo.training.model_folder import ModelInfo, write_model_folder
from hpo.training.trainer import RungTrainer
from tests.architectures.architectures import ARCHITECTURES, MAX_LENGTH, save_checkpoint

EVERY_ARCHITECTURE = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if row.is_fast else pytest.mark.long) for name, row in ARCHITECTURES.items()]
)
# Of different lengths: alone, each has no padding; in one batch, most are mostly padding. The last is truncated.
TEXTS = ["good", "a bad film", "the plot was bad and the acting worse; I left early", "a good film " * 30]
SIZE = ("model.checkpoint='./checkpoint'", "data.rows={train=32, validation=16}", "data.validation=16")


def build_trainer(small: Path, name: str, *overrides: str) -> RungTrainer:
    if not (small.parent / "checkpoint").exists():
        save_checkpoint(name, small.parent / "checkpoint")
    spec = load_study(small, (*SIZE, "training.max_steps=3", *overrides))
    return RungTrainer(prepare_context(spec, SearchListener())[0])


def select_dropouts(checkpoint: Checkpoint, value: float) -> dict[str, float]:
    """Return a value for every kind of dropout that the model uses, by the names of a study file."""
    fields = [field for field, current in checkpoint.config.to_dict().items() if isinstance(current, float)]
    used = [field for field in fields if "drop" in field and checkpoint.field_effect(field, value).is_used]
    return {f"model.{field}": value for field in used}


def enlarge_head(model: Any) -> Any:
    """Enlarge the weights of a new head, with which all texts would get almost the same probabilities."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and not name.startswith(f"{model.base_model_prefix}."):
                parameter.mul_(10.0)
    return model


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


@EVERY_ARCHITECTURE
def test_trained_model_predicts_as_a_plain_pipeline_does(small: Path, name: str) -> None:
    trainer = build_trainer(small, name)
    checkpoint = trainer.context.checkpoint
    values = {"learning_rate": 1e-3, **select_dropouts(checkpoint, 0.2)}
    assert trainer.run(values, seed=1).effective.items() >= values.items()
    folder = small.parent / "saved"
    labels = ["negative", "positive"]
    info = ModelInfo(study="small", text="text", clean=[], max_length=MAX_LENGTH, labels=labels)
    write_model_folder(folder, enlarge_head(trainer.final_model()), checkpoint.tokenizer, info)

    ours = [prediction.probabilities for prediction in load_predictor(folder).predict(TEXTS)]
    plain = pipeline("text-classification", str(folder), device="cpu")(TEXTS, truncation=True, top_k=None)
    theirs = [{answer["label"]: answer["score"] for answer in answers} for answers in plain]
    assert np.ptp([answers["negative"] for answers in theirs]) > 1e-3  # otherwise nothing is compared
    for own, answers in zip(ours, theirs, strict=True):
        assert own == pytest.approx(answers, abs=1e-5)

    rows = [{"input_ids": checkpoint.tokenizer(text, truncation=True)["input_ids"]} for text in TEXTS]
    embeddings, alone = (mean_embeddings(trainer.model, checkpoint.tokenizer, some) for some in (rows, rows[:1]))
    assert embeddings.shape == (len(TEXTS), alone.shape[1]) and np.isfinite(embeddings).all()
    assert embeddings[0] == pytest.approx(alone[0], abs=1e-4)


@EVERY_ARCHITECTURE
def test_accelerated_training_gives_the_same_model(small: Path, name: str) -> None:
    losses = []
    for speed in ("auto", "exact"):
        trainer = build_trainer(small, name, f"training.speed='{speed}'")
        values = {"learning_rate": 1e-3, "bf16": False, "train_sampling_strategy": "random"}
        curve = trainer.run({**values, **select_dropouts(trainer.context.checkpoint, 0.0)}, seed=1).curve
        losses.append(curve[1000]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
