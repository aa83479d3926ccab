"""Files that are not what their name says, and folders that can be read in part only: refused, or named in a notice."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from hpo.data.columns import Columns, ReadOptions
from hpo.data.line_input import read_lines
from hpo.data.readers import read_files, read_texts
from hpo.data.splits import TextData, load_splits
from hpo.errors import DataError
from hpo.study.spec_tables import DataSpec

TEXTS = [f"text number {number}" for number in range(8)]


def write_classes(folder: Path, suffix: str = ".txt", encoding: str = "utf-8") -> None:
    for label in ("down", "up"):
        (folder / label).mkdir(parents=True)
        for number, text in enumerate(TEXTS):
            (folder / label / f"{number}{suffix}").write_bytes(f"{label} {text}".encode(encoding))


def load(folder: Path, **table: object) -> TextData:
    return load_splits(DataSpec.model_validate({"source": ".", "validation": 0.25} | table), folder)


def refuse(folder: Path, **table: object) -> str:
    with pytest.raises(DataError) as caught:
        load(folder, **table)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_texts_in_utf_16_without_a_mark_are_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, encoding="utf-16-le")
    assert 'the file seems to need data.encoding = "utf-16-le"' in refuse(tmp_path)
    assert load(tmp_path, encoding="utf-16-le").train.texts[0].split()[1:3] == ["text", "number"]


def test_an_encoding_that_the_byte_order_mark_contradicts_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, encoding="utf-16")
    assert 'the file is UTF-16; leave out data.encoding = "cp1252"' in refuse(tmp_path, encoding="cp1252")


@pytest.mark.parametrize("encoding", ["cp1252", "gb18030", "shift_jis", "big5"])
def test_utf_8_is_not_read_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "train.csv").write_text("text,label\ncafé,a\nthé,b\n", encoding="utf-8")
    assert "the file is UTF-8; leave out data.encoding" in refuse(tmp_path, encoding=encoding)


def test_suffixes_are_read_in_any_case(tmp_path: Path) -> None:
    write_classes(tmp_path / "folders", suffix=".TXT")
    assert len(load(tmp_path / "folders").train) + len(load(tmp_path / "folders").validation) == 16
    (tmp_path / "train-0.csv").write_text("text,label\n" + "".join(f"a {n},a\n" for n in range(6)))
    (tmp_path / "train-1.CSV").write_text("text,label\n" + "".join(f"b {n},b\n" for n in range(6)))
    data = load(tmp_path)
    assert data.label_names == ("a", "b") and len(data.train) + len(data.validation) == 12


def test_a_file_beside_its_shards_is_refused(tmp_path: Path) -> None:
    for name in ("train.csv", "train-00001.csv"):
        (tmp_path / name).write_text("text,label\ngood,a\nbad,b\n")
    assert "both train.csv and train-00001.csv" in refuse(tmp_path)


def test_files_of_class_folders_that_are_not_read_are_counted(tmp_path: Path) -> None:
    write_classes(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.md").write_text("a text")
    (tmp_path / "up" / "deeper").mkdir()
    (tmp_path / "up" / "deeper" / "b.txt").write_text("a text")
    (notice,) = [notice for notice in load(tmp_path).notices if "not read" in notice]
    assert "2 files are not read, such as other/a.md" in notice


def test_an_empty_file_of_a_class_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path)
    (tmp_path / "up" / "3.txt").write_text(" \n")
    assert refuse(tmp_path).endswith("up/3.txt: is empty; fill or remove it")


def test_a_validation_file_that_is_not_used_is_a_notice(tmp_path: Path) -> None:
    for name in ("train", "validation"):
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(f"{name} {n},{n % 2}\n" for n in range(12)))
    assert any("validation.csv is not used" in notice for notice in load(tmp_path).notices)
    used = load(tmp_path, validation="validation")
    assert len(used.validation) == 12 and not any("not used" in notice for notice in used.notices)


def test_carriage_returns_end_lines_of_text_files(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_bytes(b"good\rbad\r\nugly\n")
    assert list(read_texts(tmp_path / "lines.txt")) == ["good", "bad", "ugly"]
    assert list(read_lines([b"good\rbad\r", b"ugly"], "standard input")) == ["good", "bad", "ugly"]


@pytest.mark.parametrize(
    ("label", "message"),
    [("caf\udce9", "contains half a character"), ("long " * 300, "has 1,500 characters, 'long long")],
)
def test_labels_that_cannot_name_a_class_are_refused(tmp_path: Path, label: str, message: str) -> None:
    rows = [f'{{"text": "good {n}", "label": {"other"!r}}}'.replace("'", '"') for n in range(4)]
    escaped = label.encode("ascii", "backslashreplace").decode()
    (tmp_path / "train.jsonl").write_text("\n".join([*rows, f'{{"text": "bad", "label": "{escaped}"}}']))
    assert message in refuse(tmp_path)


def test_repeated_columns_of_a_parquet_file_are_refused(tmp_path: Path) -> None:
    columns = [pyarrow.array(TEXTS), pyarrow.array([0, 1] * 4), pyarrow.array([1, 0] * 4)]
    parquet.write_table(pyarrow.Table.from_arrays(columns, ["text", "label", "label"]), tmp_path / "train.parquet")
    assert refuse(tmp_path).endswith("train.parquet: has 2 columns 'label'; rename all but one")


def test_values_that_are_nested_too_deeply_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("[" * 100_000)
    assert refuse(tmp_path).endswith("nested too deeply")


@pytest.mark.parametrize(("content", "message"), [(b"PK\x03\x04", "an Excel workbook"), (b"\x1f\x8b\x08", "gzip")])
def test_files_of_another_kind_are_recognized(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content + b"\0" * 100)
    with pytest.raises(DataError, match=message):
        read_files([tmp_path / "a.csv"], Columns("text", "label", options=ReadOptions()))


def test_excels_line_about_the_separator_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("sep=;\ntext;label\ngood;a\nbad;b\n")
    assert "line 1 is a note to Excel (sep=); remove that line" in refuse(tmp_path)
