"""A small study whose search, fresh runs and two baselines were made once; each test gets a copy of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hpo.final import baselines, runs
from hpo.final.listener import RunListener
from hpo.final.retrain import retrain
from hpo.output.record import Record, read
from hpo.search import engines
from hpo.search.listener import Listener
from hpo.study import store
from hpo.study.spec import load
from tests.final.conftest import FINAL

STUDY = FINAL + 'baselines = ["majority", "recipe"]\n'


@pytest.fixture
def judged(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """The study file, in a folder of its own, with store, artifacts and model folder."""
    shutil.copytree(_made(tmp_path_factory), tmp_path, dirs_exist_ok=True)
    return tmp_path / "small.toml"


@pytest.fixture
def record(judged: Path) -> Record:
    """Everything that is known of it."""
    return record_of(judged)


def record_of(file: Path, *overrides: str) -> Record:
    """What the store beside a study file knows of it."""
    spec = load(file, overrides)
    return read(spec, store.url_of(spec))


def make(file: Path) -> None:
    """Search, retrain and baselines of a study file."""
    spec = load(file)
    engines.search(spec, store.url_of(spec), Listener())
    with runs.opened(spec, store.url_of(spec), RunListener(), searched=True) as final:
        retrain(final)
        baselines.baseline(final, baselines.names_of(spec))


def _made(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / "judged"  # one for all test files of a session, which a fixture here would not be
    if not folder.exists():
        folder.mkdir()
        (folder / "small.toml").write_text(STUDY)
        make(folder / "small.toml")
    return folder
