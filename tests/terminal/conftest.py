"""Synthetic studies to display; each is made once per session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hpo.study.spec import StudySpec
from tests.support import synthetic

Made = Callable[..., StudySpec]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return `made(trials, **options)`: a synthetic study, shared by all tests that need the same one."""
    studies: dict[str, StudySpec] = {}

    def make(trials: int, **options: Any) -> StudySpec:
        key = f"{trials} {options}"
        if key not in studies:
            studies[key] = synthetic.make(tmp_path_factory.mktemp("made"), trials, **options)
        return studies[key]

    return make


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that sets the width of the terminal in columns."""
    return lambda columns: monkeypatch.setenv("COLUMNS", str(columns))


@pytest.fixture(autouse=True)
def _no_width_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
