"""Every file format gives the same texts in training and in prediction; errors name the row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from hpo.data.columns import Columns, ReadOptions
from hpo.data.readers import READERS, read_files, read_texts, table_suffixes
from hpo.errors import DataError
from tests.data import test_splits

ODD = ['a "quoted, text"', "NA", "null", "  spaces  ", "caf\u00e9 \u2028 \x85 \U0001f600", "1.50", "True"]
VALID_ROWS = 2500  # far more than are read at a time, before the row that cannot be used


def write(path: Path, rows: list[Any], column: str = "text") -> Path:
    if path.suffix == ".txt":
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    else:
        test_splits.write(path, [(row, index % 2) for index, row in enumerate(rows)], column)
    return path


def read_error(read: Callable[[], Iterable[str]]) -> str:
    """The message of the error that reading all texts raises."""
    with pytest.raises(DataError) as caught:
        list(read())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", READERS)
def test_every_format_gives_its_texts_in_order(tmp_path: Path, suffix: str) -> None:
    rows = [*ODD, *(f"text {row}" for row in range(2100))]
    if suffix != ".txt":
        rows.insert(1, "two\nlines")
    file = write(tmp_path / f"a{suffix}", rows)
    # pandas quotes fields of TSV files, which are read as they stand otherwise.
    options = ReadOptions(quoting="csv")
    assert list(read_texts(file, options=options)) == rows
    if suffix in table_suffixes():
        (raw,) = read_files([file], Columns("text", "label", options=options))
        assert raw.texts == rows and raw.labels == [index % 2 for index in range(len(rows))]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".txt"])
def test_byte_order_mark_is_no_part_of_the_first_text(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"a{suffix}", ["one", "two"])
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert list(read_texts(file)) == ["one", "two"]


def test_column_is_the_given_one_or_the_default(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("review,title\nlong,short\n")
    assert list(read_texts(file, "title", default_column="review")) == ["short"]
    assert list(read_texts(file, default_column="review")) == ["long"]
    categories = write(tmp_path / "a.parquet", ["one", "two"])
    import pandas

    pandas.read_parquet(categories).astype({"text": "category"}).to_parquet(categories)
    assert list(read_texts(categories)) == ["one", "two"]


def test_json_can_have_one_object_per_line(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", ["one", "two"]).rename(tmp_path / "a.json")
    assert list(read_texts(file)) == ["one", "two"]


@pytest.mark.parametrize(
    ("suffix", "line", "message"),
    [
        (".csv", b"a,b,c\n", f"cannot be read: line {VALID_ROWS + 2} has 3 fields, the first line 2; "),
        (".tsv", b"\t0\n", f"text in row {VALID_ROWS + 1} is empty or null; fill or remove it"),
        (".jsonl", b"{\n", f"cannot be read: line {VALID_ROWS + 1}: "),
        (".jsonl", b'{"label": 1}\n', f"text in row {VALID_ROWS + 1} is empty or null"),
        (".jsonl", b"[]\n", f"cannot be read: row {VALID_ROWS + 1} is not an object with 'text'"),
        (".txt", b"caf\xe9\n", f"cannot be read: line {VALID_ROWS + 1} is not UTF-8"),
        (".txt", b"  \r\n", f"line {VALID_ROWS + 1} is empty or null"),
    ],
)
def test_texts_before_an_unusable_row_are_yielded(tmp_path: Path, suffix: str, line: bytes, message: str) -> None:
    """They could not be if the whole file was read first."""
    rows = [f"text {row}" for row in range(VALID_ROWS)]
    file = write(tmp_path / f"a{suffix}", rows)
    file.write_bytes(file.read_bytes() + line)
    texts = read_texts(file)
    assert list(islice(texts, 2000)) == rows[:2000]
    assert read_error(lambda: texts).startswith(f"{file}: {message}")


def test_null_in_a_parquet_file_is_an_error_of_its_row(tmp_path: Path) -> None:
    texts = read_texts(write(tmp_path / "a.parquet", ["one", "two", None]))
    assert list(islice(texts, 2)) == ["one", "two"]
    assert "text in row 3 is empty or null" in read_error(lambda: texts)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", None, "a.csv: no such file (--file)"),
        ("a.xlsx", b"", "suffix .xlsx is unknown; known: .csv, .json, .jsonl, .parquet, .tsv, .txt"),
        ("a", b"", "suffix none is unknown"),
        ("a.csv", b"review,label\ngood,1\n", "a.csv: column 'text' (--text) is unknown; known: label, review"),
        ("a.csv", b"texts,label\ngood,1\n", "did you mean texts? (columns: texts, label)"),
        ("a.jsonl", b'{"review": "good"}\n', "column 'text' (--text) is unknown; known: review"),
        ("a.json", b'{"text": 5}', "text in row 1 is of type int, 5; expected a string"),
        ("a.json", b'["good"]', "row 1 is not an object with 'text'"),
        ("a.json", b"[{]", "cannot be read"),
        ("a.parquet", b"text\n", "cannot be read"),
        ("a.csv", b'text,label\n"good,1\n', "cannot be read"),
        (
            "a.csv",
            b"text,label\ngood,1,2\nbad,0\n",
            "cannot be read: line 2 has 3 fields, the first line 2; a text that holds ',' must",
        ),
        ("a.csv", b"text,label\ncaf\xe9,1\n", "cannot be read"),
        ("a.csv", b"", "a.csv: no texts"),
        ("a.csv", b"text,label\n", "a.csv: no texts"),
        ("a.json", b"[]", "a.json: no texts"),
        ("a.jsonl", b"\n", "a.jsonl: no texts"),
        ("a.txt", b"", "a.txt: no texts"),
        ("a.txt", b"\n", "a.txt: line 1 is empty or null"),
    ],
)
def test_errors_up_to_the_first_text_are_raised_at_once(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_texts(tmp_path / name)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_column_of_a_txt_file_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", ["one"])
    assert "leave out --text review" in read_error(lambda: read_texts(file, "review"))


def test_empty_line_of_a_csv_is_skipped_unless_there_is_a_single_column(tmp_path: Path) -> None:
    """With a single column it is an empty text: skipping it would assign later predictions to the wrong line."""
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("text\ngood\n\nbad\n")
    two.write_text("text,label\ngood,1\n\nbad,0\n")
    assert "text in row 2 is empty or null" in read_error(lambda: read_texts(one))
    assert list(read_texts(two)) == ["good", "bad"]


def test_txt_file_has_no_labels_to_train_on(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", ["one"])
    with pytest.raises(DataError, match=r"suffix \.txt is unknown; known: \.csv, \.json, \.jsonl, \.parquet, \.tsv$"):
        read_files([file], Columns("text", "label"))


def test_json_column_exists_if_any_row_has_it(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "one"}\n{"text": "two", "label": 1}\n')
    assert read_files([file], Columns("text", "label"))[0].labels == [None, 1]
    file.write_text('{"text": "one"}\n')
    with pytest.raises(DataError, match=r"column 'label' \(data\.label\) is unknown; known: text$"):
        read_files([file], Columns("text", "label"))


def test_class_names_come_from_categories_of_all_row_groups(tmp_path: Path) -> None:
    import pandas

    categories = ["z", "unused", "b", "c"]
    labels = pandas.Categorical(["b", "z"] * 4 + ["c"] * 8, categories=categories)
    pandas.DataFrame({"text": ["one"] * 16, "label": labels}).to_parquet(tmp_path / "a.parquet", row_group_size=4)
    (raw,) = read_files([tmp_path / "a.parquet"], Columns("text", "label"))
    assert raw.class_names == tuple(categories) and raw.labels == list(labels)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl"])
def test_file_without_rows_is_an_error_in_training(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[]" if name == "a.json" else "")
    with pytest.raises(DataError, match="no texts; expected rows with 'text' and 'label'$"):
        read_files([tmp_path / name], Columns("text", "label"))
