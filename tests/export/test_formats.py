"""Every format is written whole, reads back as what it says, and takes no place that is not its own."""

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
from hpo.predict import load_predictor
from hpo.results.study_results import StudyResults
from hpo.store.storage import storage_url
from hpo.study.spec import load_study
from tests.conftest import SMALL
from tests.support.evaluated_study import judged, record, record_of

__all__ = ["judged", "record"]


def read_model(path: Path) -> object:
    assert load_predictor(path).predict(["a fine film"])[0].label in {"negative", "positive"}
    return (path / "README.md").read_text()


READ: dict[str, Callable[[Path], object]] = {
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
def test_every_format_is_written_and_reads_back(name: str, record: StudyResults) -> None:
    before = {file for file in record.spec.folder.rglob("*") if file.is_file()}
    path = export_format(record, name)
    assert path.parent == record.spec.folder / "export"
    assert READ[name](path) is not False
    again = export_format(record, name)  # in the place of the first
    assert again == path and READ[name](path) is not False
    made = {file for file in record.spec.folder.rglob("*") if file.is_file()} - before
    inside = {file for file in made if path == file or path in file.parents}
    assert {file.name for file in made - inside} <= {".model.lock"}, "something was left half written"


def test_the_trials_come_with_every_column(record: StudyResults, tmp_path: Path) -> None:
    whole = record.frame
    csv = pandas.read_csv(export_format(record, "trials-csv"))
    parquet = pandas.read_parquet(export_format(record, "trials-parquet"))
    assert list(csv.columns) == list(parquet.columns) == list(whole.columns)
    assert (
        list(csv["params_learning_rate"])
        == list(parquet["params_learning_rate"])
        == [trial.params["learning_rate"] for trial in record.trials]
    )
    assert list(parquet["value"]) == list(whole["value"]) and len(parquet) == 3


def foreign(folder: Path) -> StudyResults:
    """A study of plain Optuna, with two objectives and choices of several types."""
    (folder / "small.toml").write_text(SMALL)
    spec = load_study(folder / "small.toml")
    url = storage_url(spec)
    study = optuna.create_study(study_name="small", storage=url, directions=["maximize", "minimize"])

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        return trial.suggest_float("x", 0, 1), float(trial.suggest_categorical("c", [1, "a", True, None]) == 1)

    study.optimize(objective, n_trials=6)
    return record_of(folder / "small.toml")


def test_a_foreign_study_gives_its_trials_and_says_why_nothing_else(tmp_path: Path) -> None:
    record = foreign(tmp_path)
    for name in ("trials-csv", "trials-parquet"):
        table = READ[name](export_format(record, name))
        assert isinstance(table, pandas.DataFrame) and len(table) == 6 and "value_objective 1" in table
    shutil.rmtree(record.spec.folder)
    for name in FORMATS.keys() - {"trials-csv", "trials-parquet"}:
        with pytest.raises(StudyError, match="was not made by hpo"):
            export_format(record, name, tmp_path / "new" / "deep" / "file")
    assert not record.spec.folder.exists() and not (tmp_path / "new").exists(), "a refusal leaves nothing behind"


def test_a_place_may_be_named(record: StudyResults, tmp_path: Path) -> None:
    assert export_format(record, "best-config", tmp_path / "a" / "b.toml") == tmp_path / "a" / "b.toml"
    (tmp_path / "there").mkdir()
    assert export_format(record, "bundle", tmp_path / "there") == tmp_path / "there" / "small.bundle.zip"
    taken = export_format(record, "model", tmp_path / "taken")
    assert (taken / "README.md").exists() and export_format(record, "model", taken) == taken
    (tmp_path / "empty").mkdir()
    assert (export_format(record, "model", tmp_path / "empty") / "recipe.json").exists()


def test_other_folders_are_left_alone(record: StudyResults, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for place in (tmp_path / "mine", record.spec.model_folder, record.spec.file):
        before = sorted(str(file) for file in tmp_path.rglob("*"))
        with pytest.raises(StudyError, match="choose another --output"):
            export_format(record, "model", place)
        assert sorted(str(file) for file in tmp_path.rglob("*")) == before
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_a_place_below_a_file_is_told(record: StudyResults, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be written: .*; choose another --output"):
        export_format(record, "best-config", record.spec.file / "x.toml")


def test_an_unknown_format_lists_the_known_ones(record: StudyResults) -> None:
    with pytest.raises(StudyError, match="'trials-xls' is unknown; known: best-config, .*trials-csv, .*bundle"):
        export_format(record, "trials-xls")
    with pytest.raises(StudyError, match="--push-to-hub takes --format model, not bundle"):
        check_format("bundle", push=True)


def test_without_runs_there_is_no_model_and_no_bundle(judged: Path) -> None:
    spec = load_study(judged)
    optuna.delete_study(study_name="small/final", storage=storage_url(spec))
    shutil.rmtree(spec.model_folder)
    record = record_of(judged)
    for name in ("model", "model-card", "bundle"):
        with pytest.raises(HpoError, match="hpo retrain"):
            export_format(record, name)
    assert not (spec.folder / "export").exists()
    assert tomllib.loads(export_format(record, "best-config").read_text())["training"]


def test_the_shell_prints_the_path(
    judged: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shell(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["hpo", "export", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    code, said, _ = shell(str(judged))
    assert code == 0 and said == f"{judged.parent / 'small' / 'export' / 'best_config.toml'}\n"
    code, said, told = shell(str(judged), "--format", "trials-xls")
    assert code == 2 and not said and told.startswith("hpo: --format 'trials-xls' is unknown; known: best-config,")
    code, _, told = shell(str(judged), "--public")
    assert code == 2 and "--push-to-hub" in told
