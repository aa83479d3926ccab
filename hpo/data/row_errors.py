"""Read txt and json files for prediction: a text that cannot be read is a DataError in its place, and reading goes on.

A column of JSON objects exists if any of them has it, as in training. Lines are streamed, so only the first of them can
be asked. In the other formats, what cannot be read makes all that follows doubtful, and ends the reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from hpo.data.columns import Columns, Row
from hpo.data.json_layouts import parse_json, parse_json_lines
from hpo.data.text_encoding import UndecodableText, read_each_line, read_text, split_lines
from hpo.errors import DataError

PEEKED_ROWS = 1000  # of a .jsonl file whose first row lacks the text column


def read_each_text_line(file: Path, columns: Columns) -> Iterator[Row]:
    """Read one text per line, line by line."""
    for line in _read_each_line(file, columns):
        yield (line if isinstance(line, DataError) else line.rstrip("\r\n"),)


def read_each_json_line(file: Path, columns: Columns) -> Iterator[Row]:
    """Read one object per line, line by line."""
    rows = parse_json_lines(_read_each_line(file, columns))
    peeked = []
    for row in islice(rows, PEEKED_ROWS):
        peeked.append(row)
        if isinstance(row, dict) and columns.text in row:
            break
    return _select_texts(peeked, rows, file, columns)


def read_each_json_row(file: Path, columns: Columns) -> Iterator[Row]:
    """Read a .json file, in one of the layouts of json_layouts.py."""
    return _select_texts(parse_json(read_text(file, columns.options), columns), (), file, columns)


def _read_each_line(file: Path, columns: Columns) -> Iterator[str | DataError]:
    """Yield the lines of a file, and a DataError in the place of one that cannot be decoded."""
    for line in read_each_line(file, columns.options):
        if isinstance(line, UndecodableText):
            yield DataError(f"{file}: cannot be read: {line}")
        else:
            yield from split_lines([line])


def _select_texts(first: list[Any], rest: Iterable[Any], file: Path, columns: Columns) -> Iterator[Row]:
    """Yield the text of each row, null if it has none. Raises DataError if none of the first rows has one."""
    objects = [row for row in first if isinstance(row, dict)]
    if objects:
        columns.check_present(list(dict.fromkeys(name for row in objects for name in row)), file)
    number = 0
    for number, row in enumerate(chain(first, rest), start=1):
        if not isinstance(row, dict | DataError):
            raise ValueError(f"row {number} is not an object with {columns.text!r}")
        yield (row if isinstance(row, DataError) else row.get(columns.text),)
    if not number:
        raise DataError(f"{file}: no texts; expected rows with {columns.text!r}")
