"""Texts come out of every kind of file as they do in training, bit by bit, and what is wrong is told with its row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from hpo.data.readers import READERS, read_files
from hpo.data.text_stream import STREAM_READERS, LinePipe, check_text, read_lines, read_texts
from hpo.errors import DataError
from hpo.study.spec import DataSpec
from tests.data import test_splits

ODD = ['a "quoted, text"', "NA", "null", "  spaces  ", "caf\u00e9 \u2028 \x85 \U0001f600", "1.50", "True"]
BROKEN = 2500  # a row that is read long after the first thousand


def write(path: Path, rows: list[Any], column: str = "text") -> Path:
    if path.suffix == ".txt":
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    else:
        test_splits.write(path, [(row, place % 2) for place, row in enumerate(rows)], column)
    return path


def refused(found: Any) -> str:
    with pytest.raises(DataError) as caught:
        list(found())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", STREAM_READERS)
def test_every_kind_of_file_gives_its_texts_in_order(tmp_path: Path, suffix: str) -> None:
    rows = [*ODD, *(f"text {row}" for row in range(2100))]
    if suffix != ".txt":
        rows.insert(1, "two\nlines")
    file = write(tmp_path / f"a{suffix}", rows)
    assert list(read_texts(file)) == rows
    if suffix in READERS:
        assert read_files([file], DataSpec(source="a", text="text", label="label")).texts == rows


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".txt"])
def test_byte_order_mark(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"a{suffix}", ["one", "two"])
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert list(read_texts(file)) == ["one", "two"]


def test_the_column_is_the_named_one_or_the_usual_one(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("review,title\nlong,short\n")
    assert list(read_texts(file, "title", usual="review")) == ["short"]
    assert list(read_texts(file, usual="review")) == ["long"]
    categories = write(tmp_path / "a.parquet", ["one", "two"])
    import pandas

    pandas.read_parquet(categories).astype({"text": "category"}).to_parquet(categories)
    assert list(read_texts(categories)) == ["one", "two"]


def test_json_with_an_object_a_line(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", ["one", "two"]).rename(tmp_path / "a.json")
    assert list(read_texts(file)) == ["one", "two"]


@pytest.mark.parametrize(
    ("suffix", "line", "says"),
    [
        (".csv", b"a,b,c\n", "cannot be read: Error tokenizing data. C error: Expected 2 fields"),
        (".tsv", b"\t0\n", f"text in row {BROKEN + 1} is empty or null; fill or remove it"),
        (".jsonl", b"{\n", f"cannot be read: line {BROKEN + 1}: "),
        (".jsonl", b'{"label": 1}\n', f"text in row {BROKEN + 1} is empty or null"),
        (".jsonl", b"[]\n", f"cannot be read: row {BROKEN + 1} is no object with 'text'"),
        (".txt", b"caf\xe9\n", f"cannot be read: line {BROKEN + 1} is not UTF-8"),
        (".txt", b"  \r\n", f"line {BROKEN + 1} is empty or null"),
    ],
)
def test_what_comes_later_is_read_later(tmp_path: Path, suffix: str, line: bytes, says: str) -> None:
    """The texts before a bad row come out: the file is not read whole."""
    rows = [f"text {row}" for row in range(BROKEN)]
    file = write(tmp_path / f"a{suffix}", rows)
    file.write_bytes(file.read_bytes() + line)
    found = read_texts(file)
    assert list(islice(found, 2000)) == rows[:2000]
    assert refused(lambda: found).startswith(f"{file}: {says}")


def test_a_null_in_a_parquet_file(tmp_path: Path) -> None:
    found = read_texts(write(tmp_path / "a.parquet", ["one", "two", None]))
    assert list(islice(found, 2)) == ["one", "two"]
    assert "text in row 3 is empty or null" in refused(lambda: found)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", None, "a.csv: no such file (--file)"),
        ("a.xlsx", b"", "suffix .xlsx is unknown; known: .csv, .json, .jsonl, .parquet, .tsv, .txt"),
        ("a", b"", "suffix none is unknown"),
        ("a.csv", b"review,label\ngood,1\n", "a.csv: column 'text' (--text) is unknown; known: label, review"),
        ("a.csv", b"texts,label\ngood,1\n", "did you mean texts? (columns: texts, label)"),
        ("a.jsonl", b'{"review": "good"}\n', "column 'text' (--text) is unknown; known: review"),
        ("a.json", b'{"text": 5}', "text in row 1 is a int, 5; expected a string"),
        ("a.json", b'["good"]', "row 1 is no object with 'text'"),
        ("a.json", b"[{]", "cannot be read"),
        ("a.parquet", b"text\n", "cannot be read"),
        ("a.csv", b'text,label\n"good,1\n', "cannot be read"),
        ("a.csv", b"text,label\ngood,1,2\nbad,0\n", "cannot be read: Length of header"),
        ("a.csv", b"text,label\ncaf\xe9,1\n", "cannot be read"),
        ("a.csv", b"", "a.csv: no texts"),
        ("a.csv", b"text,label\n", "a.csv: no texts"),
        ("a.json", b"[]", "a.json: no texts"),
        ("a.jsonl", b"\n", "a.jsonl: no texts"),
        ("a.txt", b"", "a.txt: no texts"),
        ("a.txt", b"\n", "a.txt: line 1 is empty or null"),
    ],
)
def test_what_is_refused_before_the_first_text(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_texts(tmp_path / name)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_column_of_lines_is_a_mistake(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", ["one"])
    assert "leave out --text review" in refused(lambda: read_texts(file, "review"))


def test_an_empty_line_shifts_no_answers(tmp_path: Path) -> None:
    """Among other columns it is no row, in training neither; alone it is an empty text."""
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("text\ngood\n\nbad\n")
    two.write_text("text,label\ngood,1\n\nbad,0\n")
    assert "text in row 2 is empty or null" in refused(lambda: read_texts(one))
    assert list(read_texts(two)) == ["good", "bad"]


def test_lines_come_as_they_are_written() -> None:
    read = 0

    def pipe() -> Iterator[bytes]:
        nonlocal read
        for line in (b"\xef\xbb\xbfone\r\n", b"two\n", b"three"):
            read += 1
            yield line

    for number, line in enumerate(read_lines(pipe(), "standard input"), start=1):
        assert line == ("one", "two", "three")[number - 1] and read == number
    assert refused(lambda: read_lines(BytesIO(b""), "standard input")) == "standard input: no texts"
    assert refused(lambda: read_lines(BytesIO(b"a\n\n"), "standard input")).startswith(
        "standard input: line 2 is empty"
    )
    assert "line 2 is not UTF-8" in refused(lambda: read_lines(BytesIO(b"a\n\xff\xfe\n"), "standard input"))


def test_a_pipe_knows_whether_a_line_is_there() -> None:
    out, into = os.pipe()
    pipe = LinePipe(out)
    assert not pipe.ready()
    os.write(into, "one\r\ntwo\n\u2028thr".encode())
    found = read_lines(pipe, "standard input")
    assert (next(found), pipe.ready(), next(found), pipe.ready()) == ("one", True, "two", False)
    os.write(into, b"ee")
    os.close(into)
    assert pipe.ready() and list(found) == ["\u2028three"]
    os.close(out)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "text 3 is empty or null"),
        (float("nan"), "text 3 is empty or null"),
        (" \t", "text 3 is empty or null"),
        (b"good", "text 3 is a bytes, b'good'; expected a string"),
        ("\ud800", "text 3 holds half a character"),
    ],
)
def test_sound(text: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        check_text(text, "text 3")
