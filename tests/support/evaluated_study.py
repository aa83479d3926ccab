"""A small study whose search, fresh runs and two baselines were made once; each test gets a copy of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hpo.evaluation.baselines import baseline_names, run_baselines
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.retraining import retrain
from hpo.evaluation.run_listener import RunListener
from hpo.results.study_results import StudyResults, read_results
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.store.storage import storage_url
from hpo.study.spec import load_study
from tests.evaluation.conftest import FINAL

STUDY = FINAL + 'baselines = ["majority", "recipe"]\n'


@pytest.fixture
def judged(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """The study file, in a folder of its own, with store, artifacts and model folder."""
    shutil.copytree(_made(tmp_path_factory), tmp_path, dirs_exist_ok=True)
    return tmp_path / "small.toml"


@pytest.fixture
def record(judged: Path) -> StudyResults:
    """Everything that is known of it."""
    return record_of(judged)


def record_of(file: Path, *overrides: str) -> StudyResults:
    """What the store beside a study file knows of it."""
    spec = load_study(file, overrides)
    return read_results(spec, storage_url(spec))


def make(file: Path) -> None:
    """Search, retrain and baselines of a study file."""
    spec = load_study(file)
    run_search(spec, storage_url(spec), SearchListener())
    with open_final_runs(spec, storage_url(spec), RunListener(), searched=True) as final:
        retrain(final)
        run_baselines(final, baseline_names(spec))


def _made(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / "judged"  # one for all test files of a session, which a fixture here would not be
    if not folder.exists():
        folder.mkdir()
        (folder / "small.toml").write_text(STUDY)
        make(folder / "small.toml")
    return folder
