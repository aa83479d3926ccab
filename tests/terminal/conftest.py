"""Made-up studies to be shown, each made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hpo.study.spec import StudySpec
from tests.support import synthetic

Made = Callable[..., StudySpec]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """`made(trials, **sort)`: a made-up study, shared by all tests that ask for the same."""
    known: dict[str, StudySpec] = {}

    def make(trials: int, **sort: Any) -> StudySpec:
        key = f"{trials} {sort}"
        if key not in known:
            known[key] = synthetic.make(tmp_path_factory.mktemp("made"), trials, **sort)
        return known[key]

    return make


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many columns a line may take."""
    return lambda columns: monkeypatch.setenv("COLUMNS", str(columns))


@pytest.fixture(autouse=True)
def _piped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
