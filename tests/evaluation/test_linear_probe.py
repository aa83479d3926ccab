"""The head of a linear probe equals scikit-learn's, and a damaged file of it is one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import hpo
from hpo.errors import ModelError
from hpo.evaluation.linear_probe import CHECKPOINT_FOLDER, HEAD_FILE, LinearHead, write_linear_probe
from hpo.study.spec_tables import ModelSpec
from hpo.training.checkpoint import Checkpoint
from hpo.training.inference import TransformerClassifier, mean_embeddings
from hpo.training.model_folder import LINEAR_PROBE, ModelInfo, write_model_info
from tests.support.model_checksums import renew_checksums

TEXTS = [f"film {number} was {word}" for number in range(20) for word in ("good", "bad", "long and dull")]


@pytest.mark.parametrize("classes", [2, 3])
def test_head_predicts_as_the_pipeline_that_it_is_from(classes: int) -> None:
    embeddings = np.random.default_rng(0).normal(2, 3, size=(90, 8)).astype(np.float32)
    labels = (embeddings[:, 0] > 2).astype(int) + (classes > 2) * (embeddings[:, 1] > 2)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(embeddings, labels)
    head = LinearHead.from_pipeline(pipeline)
    assert head.classes == classes
    assert np.allclose(head.predict_probabilities(embeddings), pipeline.predict_proba(embeddings), atol=1e-6)


@pytest.fixture(scope="module")
def probe_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a linear probe of three classes."""
    folder = tmp_path_factory.mktemp("probe")
    labels = ["good", "bad", "dull"]
    checkpoint = Checkpoint(ModelSpec(checkpoint="builtin:tiny", max_length=16), TEXTS, tuple(labels))
    model = checkpoint.fresh()
    rows = [{"input_ids": ids} for ids in TransformerClassifier(model, checkpoint.tokenizer, 16).encode(TEXTS)]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    pipeline.fit(mean_embeddings(model, checkpoint.tokenizer, rows), np.arange(len(TEXTS)) % 3)
    write_linear_probe(model, checkpoint.tokenizer, LinearHead.from_pipeline(pipeline), folder)
    info = ModelInfo(
        study="s", baseline="pretrained", kind=LINEAR_PROBE, text="text", clean=[], max_length=16, labels=labels
    )
    write_model_info(folder, info)
    return folder


def test_probe_that_is_read_knows_its_classes(probe_folder: Path) -> None:
    predictions = hpo.load(probe_folder).predict(TEXTS)
    assert [prediction.label for prediction in predictions] == ["good", "bad", "dull"] * 20
    assert not (probe_folder / "config.json").exists(), "transformers would load the folder with a random head"


def change_head(**changes: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        head = load_file(folder / HEAD_FILE)
        for name, change in changes.items():
            head[name] = change(head[name])
        save_file(head, folder / HEAD_FILE)

    return damage


def drop_label(folder: Path) -> None:
    info = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps({**info, "labels": info["labels"][:2]}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / HEAD_FILE).unlink(), "No such file"),
        (lambda folder: (folder / HEAD_FILE).write_bytes(b"half"), "header"),
        (change_head(coef=lambda coef: coef * np.nan), "probabilities are not finite: the model's weights are damaged"),
        (change_head(mean=lambda mean: mean[:-1]), "does not fit the checkpoint"),
        (change_head(coef=lambda coef: coef[:2]), "does not fit the checkpoint"),
        (change_head(intercept=lambda intercept: np.array(intercept[0])), "hpo export STUDY --system pretrained"),
        (
            drop_label,
            "recipe.json names 2 labels, but the head has 3; delete the folder, and hpo export STUDY --system",
        ),
        (lambda folder: shutil.rmtree(folder / CHECKPOINT_FOLDER), "hpo export STUDY --system pretrained"),
    ],
)
def test_damaged_probe_is_one_line(
    probe_folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = shutil.copytree(probe_folder, tmp_path / "model")
    damage(folder)
    renew_checksums(folder)
    with pytest.raises(ModelError) as caught:
        hpo.load(folder).predict(["good"])
    assert message in str(caught.value) and "\n" not in str(caught.value)
