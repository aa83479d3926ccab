"""Separators, encodings and missing headers: read when the study says so; otherwise the message says what to set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpo.data.columns import ReadOptions
from hpo.data.readers import read_texts
from hpo.errors import DataError, SpecError
from hpo.study.spec import load_study
from tests.data.test_splits import GOOD, read, read_error, write

ROWS = [(f"gr\u00f6\u00dfer, {row} teurer", ["gut", "schlecht"][row % 2]) for row in range(20)]


def write_rows(path: Path, separator: str = ",", encoding: str = "utf-8", header: str = "text{}label") -> str:
    """Write ROWS with quotes where a text holds the separator; return the name of the file."""
    quote = '"' if separator == "," else ""
    lines = [header.format(separator), *(f"{quote}{text}{quote}{separator}{label}" for text, label in ROWS)]
    path.write_text("\n".join(line for line in lines if line) + "\n", encoding=encoding)
    return path.name


# --- separators -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separator_is_named_and_read_on_request(tmp_path: Path, separator: str) -> None:
    file = write_rows(tmp_path / "a.csv", separator)
    message = read_error(tmp_path, train=file)
    shown = "\\t" if separator == "\t" else separator
    assert f'the file seems to need data.separator = "{shown}" (columns then: text, label)' in message
    assert read(tmp_path, train=file, separator=separator).label_names == ("gut", "schlecht")
    with pytest.raises(DataError, match="the file seems to need --separator '"):
        read_texts(tmp_path / file)
    texts = read_texts(tmp_path / file, options=ReadOptions(separator=separator))
    assert list(texts) == [text for text, _ in ROWS]


def test_separator_is_named_if_columns_have_other_names(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.csv", ";", header="Kommentar{}Bewertung")
    assert 'data.separator = ";" (columns then: Kommentar, Bewertung)' in read_error(tmp_path, train=file)
    data = read(tmp_path, train=file, separator=";", text="Kommentar", label="Bewertung")
    assert len(data.train) == 16


def test_separator_is_named_if_all_fields_are_in_quotation_marks(tmp_path: Path) -> None:
    lines = ['"Kommentar";"Note"', *(f'"{text}";"{label}"' for text, label in ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="cp1252")
    message = read_error(tmp_path, train="a.csv")
    assert message.endswith('; the file seems to need data.separator = ";"')
    data = read(tmp_path, train="a.csv", separator=";", encoding="cp1252", text="Kommentar", label="Note")
    assert sorted(data.train.texts + data.validation.texts) == sorted(text for text, _ in ROWS)


def test_missing_column_alone_suggests_no_separator(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", GOOD, text="review; of a film")
    assert read_error(tmp_path, train="a.csv").endswith("is unknown; known: label, review; of a film")


# --- encodings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl"])
def test_likely_encoding_is_named_and_read_on_request(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    if suffix == ".csv":
        write_rows(file, encoding="cp1252")
    else:
        objects = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in ROWS]
        file.write_text("\n".join(objects), encoding="cp1252")
    message = read_error(tmp_path, train=file.name)
    assert 'is not UTF-8; the file seems to need data.encoding = "cp1252"' in message and "line " in message
    data = read(tmp_path, train=file.name, encoding="cp1252")
    assert sorted(data.train.texts + data.validation.texts) == sorted(text for text, _ in ROWS)


def test_separator_and_encoding_are_named_in_one_message(tmp_path: Path) -> None:
    settings = 'data.separator = ";" and data.encoding = "cp1252"'
    assert settings in read_error(tmp_path, train=write_rows(tmp_path / "a.csv", ";", "cp1252"))
    file = write_rows(tmp_path / "b.csv", ";", "cp1252", header="gr\u00f6\u00dfer{}Note")
    assert f"line 1 is not UTF-8; the file seems to need {settings}" in read_error(tmp_path, train=file)


def test_encoding_is_not_guessed_from_other_scripts(tmp_path: Path) -> None:
    lines = ["text,label", *(f"\u0445\u043e\u0440\u043e\u0448\u043e {row},{row % 2}" for row in range(20))]
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="cp1251")
    message = read_error(tmp_path, train="a.csv")
    assert 'line 2 is not UTF-8; set its encoding, such as data.encoding = "cp1251" (Cyrillic)' in message
    assert "\u0445\u043e\u0440\u043e\u0448\u043e 0" in read(tmp_path, train="a.csv", encoding="cp1251").train.texts


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".txt"])
def test_byte_order_mark_says_the_encoding(tmp_path: Path, suffix: str, encoding: str) -> None:
    file = tmp_path / f"a{suffix}"
    if suffix == ".txt":
        file.write_text("".join(f"{text}\n" for text, _ in ROWS))
    else:
        write(file, ROWS)
    file.write_text(file.read_text(encoding="utf-8"), encoding=encoding)
    assert list(read_texts(file)) == [text for text, _ in ROWS]


def test_utf_16_without_a_mark_is_named(tmp_path: Path) -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        file = write_rows(tmp_path / "a.csv", encoding=encoding)
        assert f'the file seems to need data.encoding = "{encoding}"' in read_error(tmp_path, train=file)
        assert len(read(tmp_path, train=file, encoding=encoding).train) == 16


def test_wrong_encoding_is_refused_with_the_line(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.csv", encoding="cp1252")
    assert 'line 2 is not ascii; check data.encoding = "ascii"' in read_error(tmp_path, train=file, encoding="ascii")


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "cp1251"])
def test_utf_8_is_not_read_in_an_encoding_that_would_split_its_letters(tmp_path: Path, encoding: str) -> None:
    message = read_error(tmp_path, train=write_rows(tmp_path / "a.csv"), encoding=encoding)
    assert f'the file is UTF-8; leave out data.encoding = "{encoding}"' in message
    write(tmp_path / "ascii.csv", GOOD)
    assert len(read(tmp_path, train="ascii.csv", encoding=encoding).train) == 32


def test_encoding_applies_to_the_files_of_class_folders(tmp_path: Path) -> None:
    for row, (text, label) in enumerate(ROWS):
        (tmp_path / "train" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / label / f"{row}.txt").write_text(text, encoding="cp1252")
    assert 'txt: cannot be read: line 1 is not UTF-8; the file seems to need data.encoding = "cp1252"' in read_error(
        tmp_path, source="."
    )
    assert len(read(tmp_path, source=".", encoding="cp1252").train) == 16


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("separator", "cause"), [(",", ""), (";", 'the file seems to need data.separator = ";" and ')])
def test_missing_header_is_named_and_columns_are_positions(tmp_path: Path, separator: str, cause: str) -> None:
    file = write_rows(tmp_path / "a.csv", separator, header="")
    message = read_error(tmp_path, train=file)
    assert f"{cause}the header seems to be missing (line 1 is 'gr\u00f6\u00dfer, 0 teurer', 'gut'); " in message
    assert message.endswith('set data.header = false and name columns by position, such as data.text = "1"')
    data = read(tmp_path, train=file, header=False, separator=separator, text=1, label="2")
    assert sorted(data.train.texts + data.validation.texts) == sorted(text for text, _ in ROWS)
    with pytest.raises(DataError, match="--no-header and name columns by position, such as --text 1"):
        read_texts(tmp_path / file)
    options = ReadOptions(header=False, separator=separator)
    assert list(read_texts(tmp_path / file, "1", options=options)) == [text for text, _ in ROWS]


def test_unknown_position_lists_the_positions(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.csv", header="")
    message = read_error(tmp_path, train=file, header=False)
    assert message.endswith("'text' (data.text) is unknown; without a header, columns are named by position: 1, 2")


def test_header_with_a_similar_name_is_not_called_missing(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", GOOD, text="the text of it all")
    assert "header" in read_error(tmp_path, train="a.csv")
    write(tmp_path / "a.csv", GOOD, text="texts")
    assert "did you mean texts?" in read_error(tmp_path, train="a.csv")


# --- keys of the study file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.separator=;;", 'data.separator is ";;"; must be one character'),
        ("data.encoding=base64", 'data.encoding is "base64"; must be the name of an encoding'),
        ("data.quoting=single", "data.quoting is"),
        ("data.header=1", "data.header is 1"),
    ],
)
def test_wrong_values_are_errors_of_the_study_file(small: Path, override: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_study(small, (override,))
    assert message in str(caught.value)


def test_how_files_are_read_is_no_part_of_a_study(small: Path) -> None:
    """The fingerprint of the rows is; so a study continues if its file is saved in another encoding."""
    overrides = ("data.separator=;", "data.encoding=cp1252", "data.quoting=csv", "data.header=false")
    assert load_study(small, overrides).hash() == load_study(small).hash()
