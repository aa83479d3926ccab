"""Test that a search on the built-in corpus has something to find: learning rate and epochs matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.study.spec import load_study
from hpo.training.trainer import RungTrainer


@pytest.mark.long
def test_learning_rate_and_epochs_change_accuracy_on_the_built_in_corpus(small: Path) -> None:
    rows = "data.rows={train=2500, validation=600}"
    spec = load_study(
        small, (rows, "data.validation=600", "model.max_length=64", "training.per_device_train_batch_size=32")
    )
    trainer = RungTrainer(prepare_context(spec, SearchListener())[0])

    def accuracy(learning_rate: float, epochs: int) -> float:
        values = {"learning_rate": learning_rate, "num_train_epochs": epochs, "warmup_ratio": 0.1}
        return trainer.run(values, seed=0).curve[1000]["accuracy"]

    good = accuracy(1e-3, epochs=5)
    assert good > 0.7
    assert good > accuracy(1e-3, epochs=1) + 0.05
    assert good > accuracy(1e-5, epochs=5) + 0.15
