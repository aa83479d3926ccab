"""Find the rows in a .json file: a list of objects, one object per line, pandas' orientations, and rows under a key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hpo.data.columns import Columns
from hpo.errors import DataError

# JSON knows no NaN, and Python's parser accepts it: a label that is NaN is refused as empty, with its row.


def parse_json(text: str, columns: Columns) -> list[Any]:
    """Return the rows of a .json file. Raises ValueError for text that is not JSON."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        return list(parse_json_lines(text.split("\n")))  # what `datasets` writes with the suffix .json
    return content if isinstance(content, list) else find_rows(content, columns)


def parse_json_lines(lines: Iterable[str | DataError]) -> Iterator[Any]:
    """Yield the value of each line that is not blank, and a DataError as it is.

    Raises ValueError with the number of a line that is not JSON.
    """
    for number, line in enumerate(lines, start=1):
        if isinstance(line, DataError):
            yield line
        elif line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error.msg}") from None


def find_rows(content: Any, columns: Columns) -> list[Any]:
    """Return the rows of JSON content that is no list: of the first layout that fits, else the content as one row."""
    if not isinstance(content, dict):
        return [content]
    for find in (_find_columns, _find_split_orientation, _find_indexed_rows, _find_nested_rows):
        if (rows := find(content, columns)) is not None:
            return rows
    return [content]


def _find_columns(content: Mapping[str, Any], columns: Columns) -> list[Any] | None:
    """`{"text": {"0": "good", ...}, "label": {"0": 1, ...}}`, or with lists instead of the inner objects."""
    values = {name: content.get(name) for name in columns.names}
    if all(isinstance(column, dict) for column in values.values()):
        index = dict.fromkeys(key for column in values.values() for key in column or ())
        return [{name: column.get(key) for name, column in values.items() if column} for key in index]
    if all(isinstance(column, list) for column in values.values()):
        lengths = {name: len(column) for name, column in values.items() if isinstance(column, list)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns have different lengths: {lengths}")
        return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return None


def _find_split_orientation(content: Mapping[str, Any], columns: Columns) -> list[Any] | None:
    """`{"columns": ["text", "label"], "index": [0, ...], "data": [["good", 1], ...]}`."""
    names, rows = content.get("columns"), content.get("data")
    if not (isinstance(names, list) and isinstance(rows, list) and all(isinstance(row, list) for row in rows)):
        return None
    if any(len(row) != len(names) for row in rows):
        raise ValueError(f"a row under 'data' has not {len(names)} values, as many as 'columns' has names")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _find_indexed_rows(content: Mapping[str, Any], columns: Columns) -> list[Any] | None:
    """`{"0": {"text": "good", "label": 1}, "1": ...}`."""
    rows = list(content.values())
    return rows if rows and all(isinstance(row, dict) and columns.text in row for row in rows) else None


def _find_nested_rows(content: Mapping[str, Any], columns: Columns) -> list[Any] | None:
    """`{"version": "1.0", "data": [{"text": "good", "label": 1}, ...]}`, if only one key has a list of objects."""
    if columns.text in content:  # a row of its own, which may have a list of objects in another column
        return None
    lists = [
        value
        for value in content.values()
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    ]
    return lists[0] if len(lists) == 1 else None
