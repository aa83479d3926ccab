"""Every baseline that can win is exported as the model that was compared, or refused in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

import hpo
from hpo.data.builtin_corpus import generate_reviews
from hpo.errors import StudyError
from hpo.evaluation import baselines
from hpo.evaluation.baselines import BASELINES, Baseline, run_baselines
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.predictions import read_predictions
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.stored_systems import find_baseline_trials
from hpo.evaluation.text_baselines import TEXT_BASELINES
from hpo.evaluation.winner import choose_deployed_run
from hpo.store.run_record import RunRecord
from hpo.store.storage import storage_url
from hpo.study.spec import load_study
from hpo.study.spec_tables import RERUN
from hpo.training.model_folder import read_model_info
from tests.evaluation.conftest import RecordingListener
from tests.support.command_line import Ended, run_hpo
from tests.support.evaluated_study import evaluate_once, open_results

__all__ = ["run_hpo"]
EXPORTABLE = [name for name, row in BASELINES.items() if row.refit and name != RERUN]


@pytest.fixture(scope="module")
def _compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study with runs of all baselines."""
    folder = shutil.copytree(evaluate_once(tmp_path_factory), tmp_path_factory.mktemp("compared") / "study")
    spec = load_study(folder / "small.toml")
    with open_final_runs(spec, storage_url(spec), RunListener()) as final:
        run_baselines(final, EXPORTABLE)
    return folder


@pytest.fixture
def compared(_compared: Path, tmp_path: Path) -> Path:
    """Return a study file with runs of all baselines, in a new folder."""
    shutil.copytree(_compared, tmp_path, dirs_exist_ok=True)
    return tmp_path / "small.toml"


def stored_runs(file: Path, name: str) -> list[tuple[RunRecord, np.ndarray]]:
    """Return the stored runs of a baseline with the class probabilities of the test rows."""
    results = open_results(file)
    assert results.companion
    runs = []
    for trial in find_baseline_trials(name, results.spec, results.companion, {}):
        table = read_predictions(trial, results.storage, results.artifacts)
        assert table is not None
        runs.append((RunRecord.from_trial(trial), table.filter(like="probability_").to_numpy()))
    return runs


def list_files() -> list[Path]:
    """Return all files of the current folder but those that SQLite leaves for a moment."""
    return sorted(path for path in Path().rglob("*") if not path.name.startswith("store.db-"))


@pytest.mark.parametrize("name", EXPORTABLE)
def test_exported_model_makes_the_predictions_that_were_compared(name: str, compared: Path) -> None:
    listener = RecordingListener()
    study = hpo.Study(compared)
    folder = study.export("model", system=name, listener=listener)
    assert folder == compared.parent / "small" / "export" / f"model-{name}"
    assert any("trained again" in notice for notice in listener.notices) == (name == "recipe")

    runs = stored_runs(compared, name)
    deployed = choose_deployed_run(study.spec, [record for record, _ in runs], "maximize", None)
    (expected,) = (stored for record, stored in runs if record is deployed)
    info = read_model_info(folder)
    assert deployed and info.baseline == name and info.made["run"] == deployed.key
    texts = open_results(compared).data.test.texts  # type: ignore[union-attr]
    predictor = hpo.load(folder)
    predicted = np.array([[*prediction.probabilities.values()] for prediction in predictor.predict(texts)])
    assert np.allclose(predicted, expected, atol=1e-5)
    assert predictor.labels == ("negative", "positive")

    card = (folder / "README.md").read_text()
    assert card.startswith("---\n") and f"# small: {name}" in card and str(compared.parent) not in card
    assert f"with seed {deployed.seed}" in card
    assert ("from transformers import" in card) == (info.kind == "transformer")
    assert ("tokens" in card.split("## Limitations")[1]) == (info.kind != "word-counts")
    assert study.export("model", system=name) == folder  # replaces the first


def test_winner_is_exported_under_its_name(compared: Path) -> None:
    folder = hpo.Study(compared).export("model", system="winner")
    assert folder.name == "model" and read_model_info(folder).baseline is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--system", "majority"], "baseline majority has no model to export; those with one: tfidf-logreg, "),
        (["--system", "nbsvm"], "baseline 'nbsvm' is unknown; did you mean nb-svm?"),
        (["--system", "rerun"], "`hpo baseline {file} rerun` makes those that are missing"),
        (["--system", "nb-svm", "--format", "bundle"], "--system takes --format model, not bundle"),
        (["--system", "nb-svm", "--output", "mine"], "mine: exists and is not an export of study 'small'"),
        (["--system", "nb-svm", "--output", "small.toml"], "the study needs small.toml, which is not replaced"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    options: list[str],
    message: str,
    compared: Path,
    run_hpo: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(compared.parent)
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    before = list_files()
    ended = run_hpo("export", compared, *options)
    assert ended.code == 2 and message.format(file=compared) in ended.errors.splitlines()[-1]
    assert list_files() == before


def test_baseline_of_another_package_can_be_exported_only_if_it_offers_it(
    compared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = Baseline(BASELINES["nb-svm"].fit, is_stochastic=True)
    monkeypatch.setitem(baselines.BASELINES, "nb-svm", plugin)
    with pytest.raises(StudyError, match="baseline nb-svm has no model to export"):
        hpo.Study(compared).export("model", system="nb-svm")
    monkeypatch.setitem(baselines.BASELINES, "nb-svm", replace(plugin, refit=BASELINES["tfidf-logreg"].refit))
    assert hpo.Study(compared).export("model", system="nb-svm").is_dir()


def test_model_with_other_scores_than_the_stored_ones_is_refused(
    compared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TEXT_BASELINES, "tfidf-logreg", TEXT_BASELINES["bow-forest"])
    with pytest.raises(StudyError, match=r"tfidf-logreg, seed 0: fitted again, it has .* not the model that was"):
        hpo.Study(compared).export("model", system="tfidf-logreg")
    assert not (compared.parent / "small" / "export").exists()


def test_study_without_runs_of_baselines_names_the_command(compared: Path) -> None:
    spec = load_study(compared)
    optuna.delete_study(study_name="small/final", storage=storage_url(spec))
    with pytest.raises(StudyError, match=r"`hpo baseline .*small\.toml nb-svm` makes them"):
        hpo.Study(compared).export("model", system="nb-svm")


def test_shell_exports_and_predicts(compared: Path, run_hpo: Callable[..., Ended], tmp_path: Path) -> None:
    ended = run_hpo("export", compared, "--system", "nb-svm", "--output", tmp_path / "out")
    assert (ended.code, ended.output) == (0, f"{tmp_path / 'out'}\n")
    texts = generate_reviews(20, seed=5)[0]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    ended = run_hpo("predict", tmp_path / "out", "--file", tmp_path / "texts.txt")
    expected = [prediction.label for prediction in hpo.load(tmp_path / "out").predict(texts)]
    assert ended.code == 0 and [line.split("\t")[0] for line in ended.output.splitlines()] == expected
    assert set(expected) == {"negative", "positive"}
