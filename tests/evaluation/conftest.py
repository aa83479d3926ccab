"""A small study that was searched once; each test gets a copy of its own, store and weights included."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hpo.evaluation.run_listener import RunListener
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.store.storage import storage_url
from hpo.study.spec import load_study
from tests.conftest import SMALL

FINAL = (
    SMALL.replace("test = 32", "test = 400")
    + '[[space.known_good]]\nsource = "paper"\nlearning_rate = 1e-3\n[final]\nseeds = 2\n'
)


@pytest.fixture(scope="session")
def _searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    file = folder / "small.toml"
    file.write_text(FINAL)
    spec = load_study(file)
    run_search(spec, storage_url(spec), SearchListener())
    return folder


@pytest.fixture
def searched(_searched: Path, tmp_path: Path) -> Path:
    """The study file of a search with three complete trials, in a folder of its own."""
    shutil.copytree(_searched, tmp_path, dirs_exist_ok=True)
    return tmp_path / "small.toml"


class Heard(RunListener):
    """Remembers what was made, and what was found."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int]] = []
        self.found: list[int] = []
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def begins(self, system: str, seed: int) -> None:
        self.made.append((system, seed))

    def finds(self, trial: object) -> None:
        self.found.append(trial.number)  # type: ignore[attr-defined]


@pytest.fixture
def heard() -> Heard:
    """A listener that remembers."""
    return Heard()
