"""Labels are the words of the file: nothing is merged or renamed silently, and odd ones are refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo.data.splits import TextData
from tests.data.test_splits import GOOD, read, read_error, train_error, write


def read_labels(folder: Path, labels: list[Any], name: str = "train.csv") -> TextData:
    """Load four rows per label, of a file of the suffix."""
    rows = [(f"text {number} {label!r}", label) for label in labels for number in range(4)]
    return read(folder, train=write(folder / name, rows), validation=len(set(map(str, labels))))


@pytest.mark.parametrize("name", ["train.csv", "train.tsv"])
def test_cells_keep_their_spelling(tmp_path: Path, name: str) -> None:
    words = ["007", "7", "1e3", "1000", "3.0", "3", "true", "True", "1.1", "1.10", "+1", "-0"]
    assert read_labels(tmp_path, words, name).label_names == tuple(sorted(words))


def test_whole_numbers_are_ordered_by_size(tmp_path: Path) -> None:
    assert read_labels(tmp_path, ["10", "2", "0", "-1"]).label_names == ("-1", "0", "2", "10")
    assert read_labels(tmp_path, [10, 2, 0], "train.jsonl").label_names == ("0", "2", "10")
    assert read_labels(tmp_path, ["10", "2", "none"]).label_names == ("10", "2", "none")
    assert read_labels(tmp_path, ["9" * 900, "1"]).label_names == ("1", "9" * 900)


def test_fingerprint_of_integer_labels_is_that_of_earlier_versions(tmp_path: Path) -> None:
    """Studies of version 0.1.0 on such files continue."""
    for suffix in (".csv", ".tsv", ".jsonl", ".parquet"):
        data = read(tmp_path, train=write(tmp_path / f"train{suffix}", GOOD))
        assert data.fingerprint == "9d7ceb133c76e1dc" and data.label_names == ("0", "1")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_white_space_around_labels_makes_no_class(tmp_path: Path, suffix: str) -> None:
    rows = [(f"text {row}", ["pos", " pos", "neg", "neg \u00a0"][row % 4]) for row in range(40)]
    assert read(tmp_path, train=write(tmp_path / f"train{suffix}", rows)).label_names == ("neg", "pos")


def test_white_space_around_class_names_makes_no_class(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos ", "neg"])}
    )
    columns = {"text": [text for text, _ in GOOD], "label": [label for _, label in GOOD]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "train.parquet")
    write(tmp_path / "test.csv", [("good", "pos"), ("bad", "neg ")])
    data = read(tmp_path, train="train.parquet", test="test.csv")
    assert data.label_names == ("pos", "neg") and data.test is not None and data.test.labels == [0, 1]


def test_class_folders_keep_their_names(tmp_path: Path) -> None:
    for name in ("01", "1", "pos "):
        (tmp_path / "train" / name).mkdir(parents=True)
        for row in range(4):
            (tmp_path / "train" / name / f"{row}.txt").write_text(f"text {row} of {name}")
    assert read(tmp_path, source=".", validation=3).label_names == ("01", "1", "pos")


def test_typed_labels_are_named_without_merging(tmp_path: Path) -> None:
    assert read_labels(tmp_path, [True, False], "train.json").label_names == ("False", "True")
    data = read_labels(tmp_path, [3.0, 1.0], "train.json")
    assert data.label_names == ("1", "3")
    assert "labels are decimal numbers, read as whole ones: 3.0 is class '3'" in data.notices[-1]
    rows = [*GOOD, ("whole", 1.0)]
    assert "labels are of mixed types: 0 in row 1, 1.0 in row 41" in train_error(tmp_path, rows, ".json")


def test_classes_that_differ_by_case_are_a_notice(tmp_path: Path) -> None:
    rows = [(f"text {row}", ["good", "Good", "BAD", "bad", "other"][row % 5]) for row in range(50)]
    data = read(tmp_path, train=write(tmp_path / "train.csv", rows))
    assert len(data.label_names) == 5
    (notice,) = (notice for notice in data.notices if "case" in notice)
    assert notice == (
        "train: classes differ only by case: 'BAD' (10 rows), 'bad' (10 rows), 'Good' (10 rows), 'good' (10 rows); "
        "spell them alike if they are one class"
    )


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_lists_are_refused_in_one_line(tmp_path: Path, suffix: str) -> None:
    lists = [(text, ["a", "b"]) for text, _ in GOOD]
    message = train_error(tmp_path, lists, suffix)
    assert "label ['a', 'b'] in row 1 is a list; several labels per text are not supported yet" in message
    swapped = [(["a", "b"], label) for _, label in GOOD]
    assert "text in row 1 is of type list, ['a', 'b']; expected a string" in train_error(tmp_path, swapped, suffix)


def test_lists_of_class_labels_that_datasets_wrote_are_refused_in_one_line(tmp_path: Path) -> None:
    import datasets

    names = datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.List(names)})
    rows = {"text": ["one", "two"], "label": [[0, 1], [1]]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    assert "label [0, 1] in row 1 is a list" in read_error(tmp_path, train="train.parquet")


@pytest.mark.parametrize("separator", ["|", ";", ", "])
def test_joined_labels_are_refused(tmp_path: Path, separator: str) -> None:
    rows = [(f"text {row}", ["noise", "price", f"noise{separator}price"][row % 3]) for row in range(30)]
    message = train_error(tmp_path, rows, ".csv")
    assert f"label {f'noise{separator}price'!r} in row 3 joins labels" in message and "not supported yet" in message
    apart = [(text, label.replace("noise", "noises") if separator in label else label) for text, label in rows]
    assert len(read(tmp_path, train=write(tmp_path / "apart.csv", apart)).label_names) == 3


def test_quoted_values_are_short_and_on_one_line(tmp_path: Path) -> None:
    review = "a review\nover three lines " * 3000
    swapped = [(f"class {row % 2}", f"{row} {review}") for row in range(20)]
    messages = [
        train_error(tmp_path, swapped, ".jsonl"),
        train_error(tmp_path, [*GOOD, ("odd", [review])], ".jsonl"),
        train_error(tmp_path, GOOD, ".csv", text=review),
        read_error(tmp_path, train=write(tmp_path / "a.csv", GOOD, text=review)),
        read_error(tmp_path, train="train.jsonl", test=write(tmp_path / "t.csv", [("x", review)])),
    ]
    assert all(len(message) < 500 for message in messages)
