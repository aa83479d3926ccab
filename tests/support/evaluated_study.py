"""A small study with a search, retrained runs and two baselines, made once per session; each test gets its own copy."""

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
def study_file(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """The study file, in a folder of its own, with store, artifacts and model folder."""
    shutil.copytree(evaluate_once(tmp_path_factory), tmp_path, dirs_exist_ok=True)
    return tmp_path / "small.toml"


@pytest.fixture
def results(study_file: Path) -> StudyResults:
    """The results of that study."""
    return open_results(study_file)


def open_results(file: Path, *overrides: str) -> StudyResults:
    """Open the results of a study whose store is in the folder of its file."""
    spec = load_study(file, overrides)
    return read_results(spec, storage_url(spec))


def evaluate_study(file: Path) -> None:
    """Search, retrain and run the baselines of a study."""
    spec = load_study(file)
    run_search(spec, storage_url(spec), SearchListener())
    with open_final_runs(spec, storage_url(spec), RunListener(), searched=True) as final:
        retrain(final)
        run_baselines(final, baseline_names(spec))


def evaluate_once(factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the evaluated study.

    The session's temporary folder is the cache: a session-scoped fixture that several test files import would be made
    once per file.
    """
    folder = factory.getbasetemp() / "evaluated"
    if not folder.exists():
        folder.mkdir()
        (folder / "small.toml").write_text(STUDY)
        evaluate_study(folder / "small.toml")
    return folder
