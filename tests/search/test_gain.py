"""What levers save is timed once, after the trials, and only where that is cheap beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.output import status
from hpo.search import gain
from hpo.search.budget import EXACT
from hpo.search.engines import search
from hpo.search.listener import Listener
from hpo.study.spec import load


def test_the_plain_arithmetic_is_timed_where_it_is_cheap(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{small.parent}/store.db"
    # Epochs are searched, which the few steps do not make.
    epochs = ("search.trials=1", "space.parameters.num_train_epochs={low=1,high=2}", "training={bf16=false}")
    study = search(load(small, epochs), url, Listener())
    assert EXACT not in study.user_attrs and status.study(study)["saved_by_levers"] is None
    monkeypatch.setattr(gain, "LEAST", 0.0)
    study = search(load(small, epochs), url, Listener())
    assert EXACT not in study.user_attrs  # nothing was left to search
    study = search(load(small, (*epochs, "search.trials=2")), url, Listener())
    known = [trial.user_attrs for trial in study.trials]
    trained, examples = (
        sum(each) for each in zip(*((k["seconds"]["train"], k["examples"]) for k in known), strict=True)
    )
    saved = status.study(study)["saved_by_levers"]
    assert len(known) == 2 and saved == pytest.approx(1 - trained / (examples * study.user_attrs[EXACT]), abs=1e-3)


def test_nothing_is_timed_for_a_study_without_levers(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gain, "LEAST", 0.0)
    spec = load(small, ("search.trials=1", 'training.speed="exact"'))
    study = search(spec, f"sqlite:///{small.parent}/store.db", Listener())
    assert EXACT not in study.user_attrs and status.study(study)["saved_by_levers"] is None
