"""Classes are matched by name, however files number and order them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest

from hpo.data.splits import Split, TextData
from tests.data.test_splits import read, read_error, write

WORDS = ["minus", "plus"]


def build_rows(count: int, prefix: str = "text") -> list[tuple[str, str]]:
    return [(f"{prefix} {WORDS[row % 2]} {row}", WORDS[row % 2]) for row in range(count)]


def write_class_labels(path: Path, rows: list[tuple[str, str]], names: list[str]) -> str:
    """Write a parquet file with a ClassLabel, whose numbers follow the order of the names."""
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    columns = {"text": [text for text, _ in rows], "label": [names.index(label) for _, label in rows]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(path)
    return path.name


def write_categories(path: Path, rows: list[tuple[str, str]], names: list[str]) -> str:
    labels = pandas.Categorical([label for _, label in rows], categories=names)
    pandas.DataFrame({"text": [text for text, _ in rows], "label": labels}).to_parquet(path)
    return path.name


def check_names(data: TextData) -> None:
    """Check that each text, which holds its label, has the class of that name."""
    for split in data.splits().values():
        assert_named(split, data.label_names)


def assert_named(split: Split, names: tuple[str, ...]) -> None:
    assert len(split) and all(
        f" {names[label]} " in text for text, label in zip(split.texts, split.labels, strict=True)
    )


@pytest.mark.parametrize("write_table", [write_class_labels, write_categories])
def test_splits_with_another_order_are_matched(tmp_path: Path, write_table: Any) -> None:
    data = read(
        tmp_path,
        train=write_table(tmp_path / "train.parquet", build_rows(40), ["plus", "minus"]),
        validation=write_table(tmp_path / "validation.parquet", build_rows(8, "held"), ["minus", "plus"]),
        test=write(tmp_path / "test.csv", build_rows(8, "other")),
    )
    assert data.label_names == ("plus", "minus")
    check_names(data)


@pytest.mark.parametrize("write_table", [write_class_labels, write_categories])
def test_shards_with_another_order_are_matched(tmp_path: Path, write_table: Any) -> None:
    shards = [
        write_table(tmp_path / "a.parquet", build_rows(20), ["plus", "minus"]),
        write_table(tmp_path / "b.parquet", build_rows(20, "second"), ["minus", "plus"]),
        write_table(tmp_path / "c.parquet", [("third third 0", "third"), ("third third 1", "third")], ["third"]),
    ]
    data = read(tmp_path, train=shards, validation=3)
    assert data.label_names == ("plus", "minus", "third")
    check_names(data)


def test_hub_splits_with_another_order_are_matched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    files = {
        "train": write_class_labels(tmp_path / "train.parquet", build_rows(40), ["plus", "minus"]),
        "test": write_class_labels(tmp_path / "test.parquet", build_rows(8), ["minus", "plus"]),
    }
    # A DatasetDict requires equal features; builders of the hub return one with what each file has.
    splits = {split: datasets.Dataset.from_parquet(str(tmp_path / file)) for split, file in files.items()}
    monkeypatch.setattr(datasets, "load_dataset", lambda *names, **options: splits)
    check_names(read(tmp_path, source="owner/name"))


def test_cells_and_typed_numbers_are_matched_by_name(tmp_path: Path) -> None:
    """A csv file whose cells are all whole numbers, and others with words among them, have the same classes."""
    train = write(tmp_path / "train.csv", [(f"text {row % 3} {row}", row % 3) for row in range(30)])
    strings = write(tmp_path / "test.jsonl", [(f"text {row % 3} {row}", str(row % 3)) for row in range(6)])
    assert read(tmp_path, train=train, test=strings).label_names == ("0", "1", "2")
    check_names(read(tmp_path, train=train, test=strings))
    shards = [train, write(tmp_path / "more.csv", [(f"text {word} {word}", word) for word in ("1", "x", "x")])]
    data = read(tmp_path, train=shards, validation=4)
    assert data.label_names == ("0", "1", "2", "x")
    check_names(data)


def test_numbers_beside_class_names_are_matched_and_told(tmp_path: Path) -> None:
    names = ["plus", "minus"]
    train = write_class_labels(tmp_path / "train.parquet", build_rows(40), names)
    test = write(tmp_path / "test.csv", [(text, names.index(label)) for text, label in build_rows(8)])
    data = read(tmp_path, train=train, test=test)
    check_names(data)
    notice = "labels are numbers, matched with the class names of other files: 0 is 'plus', 1 is 'minus'"
    assert f"{tmp_path / 'test.csv'}: {notice}" in data.notices
    data = read(tmp_path, train=[train, test])
    check_names(data)
    assert data.label_names == ("plus", "minus")


def test_class_names_of_test_are_matched_with_numbers_of_train_and_told(tmp_path: Path) -> None:
    names = ["plus", "minus"]
    train = write(tmp_path / "train.csv", [(text, names.index(label)) for text, label in build_rows(40)])
    test = write_class_labels(tmp_path / "test.parquet", build_rows(8), names)
    data = read(tmp_path, train=train, test=test)
    assert data.label_names == ("0", "1") and data.test is not None
    assert data.test.labels == [1, 0] * 4
    assert any(notice.endswith("other files: 0 is 'plus', 1 is 'minus'") for notice in data.notices)


def test_numbers_that_two_files_name_differently_are_refused(tmp_path: Path) -> None:
    numbers = write(tmp_path / "numbers.csv", [(text, 0) for text, _ in build_rows(4)])
    shards = [
        write_class_labels(tmp_path / "a.parquet", build_rows(20), ["plus", "minus"]),
        write_class_labels(tmp_path / "b.parquet", build_rows(20), ["minus", "plus"]),
    ]
    message = read_error(tmp_path, train=shards, test=numbers)
    assert "numbers.csv: labels are numbers, and other files number the classes differently" in message
    train = write(tmp_path / "train.csv", [(f"text {row}", row % 2) for row in range(20)])
    assert "number the classes differently" in read_error(tmp_path, train=train, validation=shards[0], test=shards[1])


def test_class_labels_named_by_numbers_are_matched_by_name(tmp_path: Path) -> None:
    rows = [(f"text {stars} {row}", str(stars)) for row in range(8) for stars in (1, 2, 3)]
    train = write_class_labels(tmp_path / "train.parquet", rows, ["3", "2", "1"])
    data = read(tmp_path, train=train, test=write(tmp_path / "test.csv", rows))
    check_names(data)
    assert not any("numbers" in notice for notice in data.notices)
    other = write(tmp_path / "other.csv", [("text", 0), ("text", 1)])
    assert "first '0' in row 1; the classes of" in read_error(tmp_path, train=train, test=other)


@pytest.mark.parametrize("write_table", [write_class_labels, write_categories])
def test_class_that_train_lacks_is_refused_by_name(tmp_path: Path, write_table: Any) -> None:
    train = write_table(tmp_path / "train.parquet", build_rows(40), WORDS)
    test = write_table(tmp_path / "test.parquet", [*build_rows(4), ("text", "other")], ["other", *WORDS])
    message = read_error(tmp_path, train=train, test=test)
    assert message.startswith(
        f"{tmp_path / 'test.parquet'}: 1 row has a label that is no class of train, first 'other'"
    )
    assert message.endswith("train.parquet are 'minus', 'plus'")
