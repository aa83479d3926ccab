"""Every export format is complete and readable, and replaces only earlier exports."""

from __future__ import annotations

import json
import shutil
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas
import pytest
import yaml

from hpo.cli import main
from hpo.errors import HpoError, StudyError
from hpo.export.formats import FORMATS, check_format, export_format
from hpo.ownership import OUTPUT_LIST
from hpo.predict import load_predictor
from hpo.results.study_results import StudyResults
from hpo.store.storage import storage_url
from hpo.study.spec import load_study
from tests.conftest import SMALL
from tests.support.evaluated_study import open_results, results, study_file

__all__ = ["results", "study_file"]


def read_model(path: Path) -> object:
    assert load_predictor(path).predict(["a fine film"])[0].label in {"negative", "positive"}
    return (path / "README.md").read_text()


READERS: dict[str, Callable[[Path], object]] = {
    "best-config": lambda path: tomllib.loads(path.read_text())["training"]["learning_rate"],
    "best-config-json": lambda path: json.loads(path.read_text())["values"]["learning_rate"],
    "best-config-yaml": lambda path: yaml.safe_load(path.read_text())["values"]["learning_rate"],
    "best-config-python": lambda path: compile(path.read_text(), str(path), "exec"),
    "trials-csv": pandas.read_csv,
    "trials-parquet": pandas.read_parquet,
    "model-card": lambda path: path.read_text().startswith("---\n"),
    "model": read_model,
    "bundle": lambda path: zipfile.ZipFile(path).testzip() is None,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_readable_and_can_be_written_again(name: str, results: StudyResults) -> None:
    before = {file for file in results.spec.folder.rglob("*") if file.is_file()}
    path = export_format(results, name)
    assert path.parent == results.spec.folder / "export"
    assert READERS[name](path) is not False
    again = export_format(results, name)  # replaces the first
    assert again == path and READERS[name](path) is not False
    new = {file for file in results.spec.folder.rglob("*") if file.is_file()} - before
    exported = {file for file in new if path == file or path in file.parents}
    assert {file.name for file in new - exported} <= {OUTPUT_LIST}, "a temporary file was left"


def test_trials_are_exported_with_every_column(results: StudyResults, tmp_path: Path) -> None:
    table = results.trials_table
    csv = pandas.read_csv(export_format(results, "trials-csv"))
    parquet = pandas.read_parquet(export_format(results, "trials-parquet"))
    assert list(csv.columns) == list(parquet.columns) == list(table.columns)
    assert (
        list(csv["params_learning_rate"])
        == list(parquet["params_learning_rate"])
        == [trial.params["learning_rate"] for trial in results.trials]
    )
    assert list(parquet["value"]) == list(table["value"]) and len(parquet) == 3


def create_foreign_study(folder: Path) -> StudyResults:
    """Create a study with plain Optuna, with two objectives and choices of several types."""
    (folder / "small.toml").write_text(SMALL)
    spec = load_study(folder / "small.toml")
    url = storage_url(spec)
    study = optuna.create_study(study_name="small", storage=url, directions=["maximize", "minimize"])

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        return trial.suggest_float("x", 0, 1), float(trial.suggest_categorical("c", [1, "a", True, None]) == 1)

    study.optimize(objective, n_trials=6)
    return open_results(folder / "small.toml")


def test_foreign_study_exports_its_trials_and_refuses_the_rest(tmp_path: Path) -> None:
    results = create_foreign_study(tmp_path)
    for name in ("trials-csv", "trials-parquet"):
        table = READERS[name](export_format(results, name))
        assert isinstance(table, pandas.DataFrame) and len(table) == 6 and "value_objective 1" in table
    shutil.rmtree(results.spec.folder)
    for name in FORMATS.keys() - {"trials-csv", "trials-parquet"}:
        with pytest.raises(StudyError, match="was not created by hpo"):
            export_format(results, name, tmp_path / "new" / "deep" / "file")
    assert not results.spec.folder.exists() and not (tmp_path / "new").exists(), (
        "a refused export must leave nothing behind"
    )


def test_output_may_be_a_file_or_a_folder(results: StudyResults, tmp_path: Path) -> None:
    assert export_format(results, "best-config", tmp_path / "a" / "b.toml") == tmp_path / "a" / "b.toml"
    (tmp_path / "there").mkdir()
    assert export_format(results, "bundle", tmp_path / "there") == tmp_path / "there" / "small.bundle.zip"
    taken = export_format(results, "model", tmp_path / "taken")
    assert (taken / "README.md").exists() and export_format(results, "model", taken) == taken
    (tmp_path / "empty").mkdir()
    assert (export_format(results, "model", tmp_path / "empty") / "recipe.json").exists()


def test_folders_that_are_no_export_are_not_replaced(results: StudyResults, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for target in (tmp_path / "mine", results.spec.model_folder, results.spec.file):
        before = sorted(str(file) for file in tmp_path.rglob("*"))
        with pytest.raises(StudyError, match="choose another --output"):
            export_format(results, "model", target)
        assert sorted(str(file) for file in tmp_path.rglob("*")) == before
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_output_below_a_file_is_an_error(results: StudyResults, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    with pytest.raises(StudyError, match="cannot be written: .*; choose another --output"):
        export_format(results, "best-config", tmp_path / "a file" / "x.toml")


def test_unknown_format_lists_the_known_ones(results: StudyResults) -> None:
    with pytest.raises(StudyError, match="--format is 'trials-xls'; known: best-config, .*trials-csv, .*bundle"):
        export_format(results, "trials-xls")
    with pytest.raises(StudyError, match="--push-to-hub takes --format model, not bundle"):
        check_format("bundle", push=True)


def test_without_retrained_runs_there_is_no_model_and_no_bundle(study_file: Path) -> None:
    spec = load_study(study_file)
    optuna.delete_study(study_name="small/final", storage=storage_url(spec))
    shutil.rmtree(spec.model_folder)
    results = open_results(study_file)
    for name in ("model", "model-card", "bundle"):
        with pytest.raises(HpoError, match="hpo retrain"):
            export_format(results, name)
    assert not (spec.folder / "export").exists()
    assert tomllib.loads(export_format(results, "best-config").read_text())["training"]


def test_shell_prints_the_path(
    study_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_export(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["hpo", "export", *arguments])
        with pytest.raises(SystemExit) as exit_info:
            main()
        output = capsys.readouterr()
        return int(exit_info.value.code or 0), output.out, output.err

    code, out, _ = run_export(str(study_file))
    assert code == 0 and out == f"{study_file.parent / 'small' / 'export' / 'best_config.toml'}\n"
    code, out, err = run_export(str(study_file), "--format", "trials-xls")
    assert code == 2 and not out and err.startswith("hpo: --format is 'trials-xls'; known: best-config,")
    code, _, err = run_export(str(study_file), "--public")
    assert code == 2 and "--push-to-hub" in err
