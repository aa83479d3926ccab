"""A small study that was searched once; each test gets its own copy of the folder, with store and weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial

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
    """Return the study file of a search with three complete trials, in a new folder."""
    shutil.copytree(_searched, tmp_path, dirs_exist_ok=True)
    return tmp_path / "small.toml"


class RecordingListener(RunListener):
    """Records which runs were started, which were read from the store, and all notices."""

    def __init__(self) -> None:
        self.started: list[tuple[str, int]] = []
        self.reused: list[int] = []
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def begins(self, system: str, seed: int) -> None:
        self.started.append((system, seed))

    def finds(self, trial: FrozenTrial) -> None:
        self.reused.append(trial.number)


@pytest.fixture
def listener() -> RecordingListener:
    """Return a listener that records."""
    return RecordingListener()
