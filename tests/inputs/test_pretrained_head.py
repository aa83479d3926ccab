"""The baseline `pretrained` says what it assumes about the labels of a trained head, and whether validation agrees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hpo.evaluation.baselines import run_baselines
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.pretrained_baseline import find_better_order
from hpo.evaluation.run_listener import RunListener
from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.store.run_record import RunRecord
from hpo.store.storage import storage_url
from hpo.study.spec import load_study
from hpo.training.checkpoint import save_model
from hpo.training.trainer import RungTrainer

STUDY = """\
name = "small"
data = {{ train = ["train.csv"], validation = ["validation.csv"] }}
model = {{ checkpoint = "{checkpoint}", max_length = 8 }}
training = {{ learning_rate = 1e-3, num_train_epochs = 4, per_device_train_batch_size = 16 }}
space.parameters.weight_decay = {{ low = 0.0, high = 0.1 }}
"""


def test_head_in_another_order_than_assumed_is_said_beside_the_baseline(tmp_path: Path) -> None:
    for split, count in (("train", 96), ("validation", 32)):
        rows = [f"{word} {number},{word}" for number in range(count // 2) for word in ("down", "up")]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]))
    file = tmp_path / "small.toml"
    file.write_text(STUDY.format(checkpoint="builtin:tiny"))
    context, _ = prepare_context(load_study(file), SearchListener())
    trainer = RungTrainer(context)
    trainer.run({}, seed=1)
    model = trainer.final_model()
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.copy_(parameter.flip(0))
    model.config.id2label = {0: "LABEL_0", 1: "LABEL_1"}
    save_model(model, context.checkpoint.tokenizer, tmp_path / "saved")
    file.write_text(STUDY.format(checkpoint="./saved"))
    spec = load_study(file)
    with open_final_runs(spec, storage_url(spec), RunListener()) as final:
        (trial,) = run_baselines(final, ["pretrained"])["pretrained"]
    run = RunRecord.from_trial(trial)
    assert run.description and run.value == 0.0
    assert "assuming down = LABEL_0, up = LABEL_1" in run.description
    assert "reading down as up, up as down" in run.description


@pytest.mark.parametrize(("classes", "rows"), [(2, 60), (5, 300)])
def test_far_better_order_of_labels_is_reported(classes: int, rows: int) -> None:
    names = [f"class {number}" for number in range(classes)]
    labels = np.arange(rows) % classes
    draw = np.random.default_rng(0)
    right = np.eye(classes)[labels]
    noise = np.eye(classes)[draw.integers(0, classes, rows)]
    mostly_right = np.where((draw.random(rows) < 0.8)[:, None], right, noise)
    assert find_better_order(mostly_right, labels.tolist(), names) is None
    turned = find_better_order(np.roll(mostly_right, 1, axis=1), labels.tolist(), names)
    assert turned and f"reading class 0 as class {classes - 1}" in turned


def test_order_that_is_better_by_chance_is_not_reported() -> None:
    draw = np.random.default_rng(0)
    for classes in (2, 3, 8):
        guesses = np.eye(classes)[draw.integers(0, classes, 40)]
        labels = draw.integers(0, classes, 40).tolist()
        assert find_better_order(guesses, labels, [str(number) for number in range(classes)]) is None
