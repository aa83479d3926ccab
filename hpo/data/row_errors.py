"""Read txt and json files for prediction: a text that cannot be read is a DataError in its place, and reading goes on.

A column of JSON objects exists if any of them has it, as in training. Lines are streamed, so only the first of them can
be asked. In the other formats, what cannot be read makes all that follows doubtful, and ends the reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from hpo.data.columns import Columns, ReadOptions, Row
from hpo.data.json_layouts import parse_json
from hpo.data.text_encoding import UndecodableText, find_encoding, read_lines, read_text, split_lines
from hpo.errors import DataError

PEEKED_ROWS = 1000  # of a .jsonl file whose first row lacks the text column


def read_each_text_line(file: Path, columns: Columns) -> Iterator[Row]:
    """Read one text per line, line by line."""
    for line in decode_each_line(file, columns.options):
        if isinstance(line, DataError):
            yield (line,)
        else:
            yield from ((part.rstrip("\r\n"),) for part in split_lines([line]))


def read_each_json_line(file: Path, columns: Columns) -> Iterator[Row]:
    """Read one object per line, line by line."""
    rows = _parse_each_line(decode_each_line(file, columns.options))
    peeked = []
    for row in islice(rows, PEEKED_ROWS):
        peeked.append(row)
        if isinstance(row, dict) and columns.text in row:
            break
    return _select_texts(peeked, rows, file, columns)


def read_each_json_row(file: Path, columns: Columns) -> Iterator[Row]:
    """Read a .json file, in one of the layouts of json_layouts.py."""
    return _select_texts(parse_json(read_text(file, columns.options), columns), (), file, columns)


def decode_each_line(file: Path, options: ReadOptions) -> Iterator[str | DataError]:
    """Yield the lines of a file with their ends, and a DataError in the place of one that is not of its encoding.

    Raises UndecodableText if the file as a whole is not: in UTF-16, say, where an odd byte shifts all that follow.
    """
    count, reason = 0, ""
    try:
        for line in read_lines(file, options):
            count += 1
            yield line
    except UndecodableText as error:
        if not _is_about_one_line(error, file, count):
            raise
        reason = str(error).partition(" is not ")[2]
    if not reason:
        return
    encoding = find_encoding(file, options)
    with file.open("rb") as lines:
        for number, content in enumerate(islice(lines, count, None), start=count + 1):
            try:
                text: str | DataError = content.decode(encoding)
            except UnicodeDecodeError:
                text = DataError(f"{file}: cannot be read: line {number} is not {reason}")
            yield text


def _is_about_one_line(error: UndecodableText, file: Path, count: int) -> bool:
    """Whether only the line after the first `count` cannot be decoded. NUL in the first line means UTF-16."""
    if not error.problem.startswith(f"line {count + 1} "):
        return False
    with file.open("rb") as lines:
        return count > 0 or b"\0" not in next(lines)


def _parse_each_line(lines: Iterable[str | DataError]) -> Iterator[Any]:
    """Yield the value of each line that is not blank. Raises ValueError with the number of a line that is not JSON."""
    for number, line in enumerate(lines, start=1):
        if isinstance(line, DataError):
            yield line
        elif line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error.msg}") from None


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
