"""Files of predictions: every format, matched by row number or text, and refused in one line if they do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from hpo.errors import DataError
from hpo.evaluation.prediction_file import PredictionColumns, read_prediction_file
from hpo.evaluation.prediction_table import MatchedPredictions

NAMES = ("bad", "good")
TEXTS = ["one", "two", "three"]
LABELS = ["good", "bad", "good"]
WRITERS: dict[str, Any] = {
    "csv": lambda table, file: table.to_csv(file, index=False),
    "tsv": lambda table, file: table.to_csv(file, index=False, sep="\t"),
    "json": lambda table, file: table.to_json(file, orient="records"),
    "columns.json": lambda table, file: table.to_json(file),
    "index.json": lambda table, file: table.to_json(file, orient="index"),
    "jsonl": lambda table, file: table.to_json(file, orient="records", lines=True),
    "parquet": lambda table, file: table.to_parquet(file),
}


def match(file: Path, columns: PredictionColumns | None = None) -> MatchedPredictions:
    """Match a file with three test rows, which are rows 5, 6 and 9 of their source."""
    table = read_prediction_file(file, columns or PredictionColumns(), NAMES)
    return table.match([4, 5, 8], TEXTS, str.lower)


def write(folder: Path, suffix: str = "csv", **columns: list[Any]) -> Path:
    file = folder / f"theirs.{suffix}"
    WRITERS[suffix](pandas.DataFrame(columns), file)
    return file


@pytest.mark.parametrize("suffix", WRITERS)
def test_rows_and_probabilities_of_every_format(tmp_path: Path, suffix: str) -> None:
    positive = [0.125, 0.75, 0.5]
    file = write(
        tmp_path,
        suffix,
        row=[6, 5, 9],
        label=["bad", "good", "bad"],
        good=positive,
        bad=[1 - share for share in positive],
    )
    matched = match(file)
    assert matched.has_probabilities
    np.testing.assert_allclose(matched.probabilities[:, 1], [0.75, 0.125, 0.5], atol=1e-8)
    assert matched.probabilities.argmax(axis=1).tolist() == [1, 0, 0], "the label decides between equal classes"


@pytest.mark.parametrize("suffix", WRITERS)
def test_texts_and_labels_of_every_format(tmp_path: Path, suffix: str) -> None:
    """Texts are cleaned as the study cleans them; an equal text may occur again with an equal label."""
    file = write(tmp_path, suffix, text=["THREE", "one", "two", "ONE"], label=["good", "good", "bad", "good"])
    matched = match(file)
    assert not matched.has_probabilities and matched.probabilities.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_columns_have_the_names_that_are_given(tmp_path: Path) -> None:
    file = write(tmp_path, row=[1, 2, 3], number=[5, 6, 9], label=["x"] * 3, answer=LABELS, words=TEXTS)
    by_number = match(file, PredictionColumns(row="number", label="answer"))
    by_text = match(file, PredictionColumns(text="words", label="answer"))
    assert by_number.probabilities.argmax(axis=1).tolist() == by_text.probabilities.argmax(axis=1).tolist() == [1, 0, 1]


def test_classes_that_are_numbers(tmp_path: Path) -> None:
    file = write(tmp_path, "parquet", row=[1, 2], label=[1, 0], probability_0=[0.25, 1.0], probability_1=[0.75, 0.0])
    table = read_prediction_file(file, PredictionColumns(), ("0", "1"))
    assert table.match([0, 1], ["a", "b"], str).probabilities.argmax(axis=1).tolist() == [1, 0]


BY_TEXT: dict[str, list[Any]] = {"text": TEXTS, "label": LABELS}
BY_ROW: dict[str, list[Any]] = {"row": [5, 6, 9], "label": LABELS}
SOFT: dict[str, list[Any]] = {**BY_TEXT, "bad": [0.1, 0.9, 0.2], "good": [0.9, 0.1, 0.8]}


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"label": LABELS}, "has no column 'text'; its columns are label"),
        ({"text": TEXTS}, "has no column 'label'; its columns are text"),
        (
            BY_TEXT | {"label": ["good", "fine", "fine"]},
            "2 rows have a label that is no class, first 'fine' in row 2;.*",
        ),
        (BY_TEXT | {"label": ["good", None, "bad"]}, "1 label is empty or null, first in row 2; .*"),
        (
            BY_TEXT | {"text": ["one", "two", "four"]},
            "1 of the test rows has no prediction, first row 9 .*by text.*",
        ),
        (BY_ROW | {"row": [5, 6, 8]}, r"1 of the test rows has no prediction, first row 9 \(rows count from 1\); .*"),
        (
            {"text": [*TEXTS, "x", "y"], "label": [*LABELS, "bad", "bad"]},
            "2 predictions are of no test row, first that in row 4 of the file .*; remove such rows",
        ),
        (
            {"row": [2, 5, 6, 9], "label": [*LABELS, "bad"]},
            "1 prediction is of no test row, first row 2 .*",
        ),
        (
            {"row": [5, 6, 9, 6], "label": [*LABELS, "bad"]},
            "1 row number has several predictions, first 6; .*",
        ),
        (BY_ROW | {"row": [0, 1, 2]}, "1 row has a row that is no row number, first '0' in row 1; rows count from 1"),
        (BY_ROW | {"row": ["5", "six", "9"]}, "1 row has a row that is no row number, first 'six' in row 2; .*"),
        (
            {"text": [*TEXTS, "two"], "label": [*LABELS, "good"]},
            "1 prediction contradicts another of an equal text, first in rows 2 and 4; tell rows apart by .*",
        ),
        (
            SOFT | {"good": [0.9, None, 0.8]},
            "1 row has a probability that is no number .*, first None in row 2; .*",
        ),
        (SOFT | {"good": [0.9, 0.1, 1.8]}, "1 row has a probability that is no number .*, first '1.8' in row 3; .*"),
        (SOFT | {"good": [0.9, 0.1, 0.5]}, "1 row has probabilities that do not sum to 1, first row 3 with 0.700; .*"),
        (
            SOFT | {"label": ["bad", "bad", "bad"]},
            "2 rows have a label that is not the most probable .*, first row 1; .*",
        ),
        (BY_TEXT | {"good": [0.9, 0.1, 0.8]}, "has probabilities of 1 of 2 classes, and no column for 'bad'; .*"),
    ],
)
def test_what_does_not_fit_is_one_line_with_counts_and_the_first_example(
    tmp_path: Path, columns: dict[str, list[Any]], problem: str
) -> None:
    file = write(tmp_path, "csv", **columns)
    with pytest.raises(DataError, match=rf"^{file}: {problem}$"):
        match(file)


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none.csv: no such file of predictions"):
        match(tmp_path / "none.csv")
    (tmp_path / "theirs.txt").write_text("good\n")
    with pytest.raises(DataError, match=r"theirs.txt: suffix .txt is unknown"):
        match(tmp_path / "theirs.txt")
    (tmp_path / "theirs.jsonl").write_text(json.dumps({"text": "one", "label": "good"}) + "\n{")
    with pytest.raises(DataError, match=r"theirs.jsonl: cannot be read: line 2"):
        match(tmp_path / "theirs.jsonl")
