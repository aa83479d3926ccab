"""Quotation marks in csv and tsv files: read as they stand, as quotes, or refused with the line; never rows lost."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest
from typer.testing import CliRunner

from hpo.cli import app
from hpo.data.columns import ReadOptions
from hpo.data.readers import read_texts
from hpo.errors import DataError
from hpo.terminal.prediction_input import choose_input, parse_read_options
from tests.data.test_splits import read, read_error

MODEL = Path(__file__).resolve().parents[1] / "compatibility" / "model"
TEXTS = ['"Never closed', '"Closed" in the middle', 'a "word" inside', "no mark", 'ends with a mark"', '""']


def write_lines(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return path.name


def write_plain_tsv(path: Path) -> list[str]:
    """Write forty rows whose texts have marks that mean nothing; return the texts."""
    texts = [f"{TEXTS[row % len(TEXTS)]} {row}" for row in range(40)]
    write_lines(path, "text\tlabel", *(f"{text}\t{row % 2}" for row, text in enumerate(texts)))
    return texts


def write_quoted_tsv(path: Path, texts: list[str]) -> None:
    table = pandas.DataFrame({"text": texts, "label": [row % 2 for row in range(len(texts))]})
    table.to_csv(path, sep="\t", index=False)


def test_marks_of_a_tsv_file_belong_to_its_texts(tmp_path: Path) -> None:
    texts = write_plain_tsv(tmp_path / "a.tsv")
    data = read(tmp_path, train="a.tsv")
    assert sorted(data.train.texts + data.validation.texts) == sorted(texts)
    assert sorted(data.train.labels + data.validation.labels) == [0] * 20 + [1] * 20
    assert list(read_texts(tmp_path / "a.tsv")) == texts


def test_quoted_tsv_is_read_on_request(tmp_path: Path) -> None:
    texts = [f'text {row} with\ttab, "mark" and\nline break' for row in range(20)]
    write_quoted_tsv(tmp_path / "a.tsv", texts)
    data = read(tmp_path, train="a.tsv", quoting="csv")
    assert sorted(data.train.texts + data.validation.texts) == sorted(texts)
    assert list(read_texts(tmp_path / "a.tsv", options=ReadOptions(quoting="csv"))) == texts


@pytest.mark.parametrize(
    "odd_text",
    ["two\nlines", "a\ttab", 'a "word" in marks', '"all in marks"'],
    ids=["line break", "tab", "doubled marks", "whole field"],
)
def test_tsv_that_may_be_quoted_is_refused_with_both_choices(tmp_path: Path, odd_text: str) -> None:
    write_quoted_tsv(tmp_path / "a.tsv", [odd_text, *(f"text {row}" for row in range(19))])
    message = read_error(tmp_path, train="a.tsv")
    assert "line 2 has" in message
    assert 'set data.quoting = "csv" if' in message and 'or data.quoting = "none" if' in message
    with pytest.raises(DataError, match="--quoting csv if .* --quoting none if"):
        read_texts(tmp_path / "a.tsv")


def test_row_of_a_tsv_that_a_line_break_cuts_is_no_text(tmp_path: Path) -> None:
    """The third line prevents that the file can be read with quotes."""
    write_lines(tmp_path / "a.tsv", "text\tlabel", '"two', 'lines"\t1', '"bad" film\t0')
    with pytest.raises(DataError, match="line 2 has 1 fields, the first line 2; .* with --quoting csv"):
        list(read_texts(tmp_path / "a.tsv"))


def test_marks_stay_in_a_doubtful_tsv_on_request(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.tsv", "text\tlabel", '"good"\t1', "bad\t0", "bad again\t0", "fine\t1")
    data = read(tmp_path, train="a.tsv", quoting="none", validation=2)
    assert '"good"' in data.train.texts + data.validation.texts


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["good,1", '"never closed,1', "bad,0"], "line 3: a quotation mark opens a field and is never closed"),
        (["good,1", '"good" film,1', "bad,0"], "line 3: text follows a closing quotation mark"),
        (["good,1", '"never closed,1', '"bad",0'], "lines 3 to 4: text follows a closing quotation mark"),
        (['"two\nlines",1', "good, but long,0"], "line 4 has 3 fields, the first line 2; a text that holds ','"),
    ],
    ids=["unclosed", "text after mark", "unclosed before another", "unquoted separator"],
)
def test_malformed_csv_is_refused_with_its_line(tmp_path: Path, lines: list[str], message: str) -> None:
    write_lines(tmp_path / "a.csv", "text,label", *lines)
    assert f"a.csv: cannot be read: {message}" in read_error(tmp_path, train="a.csv")
    with pytest.raises(DataError, match="cannot be read: lines? "):
        list(read_texts(tmp_path / "a.csv"))


def test_csv_without_quotes_is_read_on_request(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.csv", "text,label", '"good" film,1', '"never closed,0')
    assert list(read_texts(tmp_path / "a.csv", options=ReadOptions(quoting="none"))) == ['"good" film', '"never closed']


def test_long_text_and_old_line_ends_are_read(tmp_path: Path) -> None:
    long_text = "word, " * 50_000
    write_lines(tmp_path / "a.csv", f'text,label\r"{long_text}",1\r\n"two\rlines",0\rlast,1')
    assert list(read_texts(tmp_path / "a.csv")) == [long_text, "two\rlines", "last"]


def test_column_that_a_header_names_twice_is_refused(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.csv", "text,label,text", "good,1,bad")
    assert "line 1 names column 'text' 2 times" in read_error(tmp_path, train="a.csv")


def test_predict_gives_one_answer_per_row_or_refuses(tmp_path: Path) -> None:
    write_plain_tsv(tmp_path / "plain.tsv")
    write_quoted_tsv(tmp_path / "quoted.tsv", ["a\ttab", "two\nlines", "bad"])
    refused = CliRunner().invoke(app, ["predict", str(MODEL), "--file", str(tmp_path / "quoted.tsv")])
    assert isinstance(refused.exception, DataError) and refused.stdout == ""
    for file, quoting, count in (("plain.tsv", None, 40), ("quoted.tsv", "csv", 3)):
        options = parse_read_options(None, quoting, None, header=True)
        assert len(list(choose_input(MODEL, None, tmp_path / file, None, options).texts)) == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quoting", "cvs"], '--quoting is "cvs"; did you mean csv?'),
        (["--separator", ";;"], "--separator is ';;'; must be one character"),
        (["--encoding", "latin9000"], "--encoding is 'latin9000'; must be the name of an encoding"),
        (["--no-header"], "describe --file, which is not given"),
    ],
)
def test_wrong_reading_options_of_predict_are_refused(options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["predict", str(MODEL), *options, *([] if "--no-header" in options else ["good"])])
    assert isinstance(result.exception, DataError) and message in str(result.exception)
