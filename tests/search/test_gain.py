"""What levers save is timed once, after the trials, and only where that is cheap beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.results.study_status import study_status
from hpo.search import gain
from hpo.search.budget import EXACT_ATTRIBUTE
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.study.spec import load_study


def test_the_plain_arithmetic_is_timed_where_it_is_cheap(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{small.parent}/store.db"
    # Epochs are searched, which the few steps do not make.
    epochs = ("search.trials=1", "space.parameters.num_train_epochs={low=1,high=2}", "training={bf16=false}")
    study = run_search(load_study(small, epochs), url, SearchListener())
    assert EXACT_ATTRIBUTE not in study.user_attrs and study_status(study)["saved_by_levers"] is None
    monkeypatch.setattr(gain, "LEAST", 0.0)
    study = run_search(load_study(small, epochs), url, SearchListener())
    assert EXACT_ATTRIBUTE not in study.user_attrs  # nothing was left to search
    study = run_search(load_study(small, (*epochs, "search.trials=2")), url, SearchListener())
    known = [trial.user_attrs for trial in study.trials]
    trained, examples = (
        sum(each) for each in zip(*((k["seconds"]["train"], k["examples"]) for k in known), strict=True)
    )
    saved = study_status(study)["saved_by_levers"]
    assert len(known) == 2 and saved == pytest.approx(
        1 - trained / (examples * study.user_attrs[EXACT_ATTRIBUTE]), abs=1e-3
    )


def test_nothing_is_timed_for_a_study_without_levers(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gain, "LEAST", 0.0)
    spec = load_study(small, ("search.trials=1", 'training.speed="exact"'))
    study = run_search(spec, f"sqlite:///{small.parent}/store.db", SearchListener())
    assert EXACT_ATTRIBUTE not in study.user_attrs and study_status(study)["saved_by_levers"] is None
