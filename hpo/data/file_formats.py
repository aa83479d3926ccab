"""Read the rows of parquet files, and of json and jsonl files for training, with the values of the wanted columns.

delimited.py reads csv and tsv files, row_errors.py txt files, and json and jsonl files for prediction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpo.data.columns import Columns, Row
from hpo.data.json_layouts import parse_json, parse_json_lines
from hpo.data.text_encoding import read_lines, read_text, split_lines
from hpo.errors import DataError

CHUNK_ROWS = 1000  # rows of a streamed table in memory at a time

# --- parquet ----------------------------------------------------------------------------------------------------------


def read_parquet(file: Path, columns: Columns) -> Iterator[Row]:
    """Read a .parquet file in chunks of rows."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(file) as table:
        columns.check_present(table.schema_arrow.names, file)
        for batch in table.iter_batches(CHUNK_ROWS, columns=list(columns.names)):
            yield from zip(*(batch.column(name).to_pylist() for name in columns.names), strict=True)


def read_parquet_class_names(file: Path, label: str) -> tuple[str, ...] | None:
    """Return the class names that `datasets` wrote, or the categories of a pandas column if they are strings."""
    from pyarrow.parquet import ParquetFile
    from pyarrow.types import is_dictionary

    with ParquetFile(file) as table:
        if names := _find_feature_names(table.schema_arrow.metadata or {}, label):
            return names
        if not is_dictionary(table.schema_arrow.field(label).type):
            return None
        # Row groups can have dictionaries of their own.
        column = table.read(columns=[label]).unify_dictionaries().column(label)
    categories = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
    return tuple(categories) if categories and all(isinstance(name, str) for name in categories) else None


def _find_feature_names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...] | None:
    """Return the names of a ClassLabel in the metadata that `datasets` writes, whose other features have none."""
    value: Any = json.loads(metadata.get(b"huggingface", b"{}"))
    for key in ("info", "features", label, "names"):
        value = value.get(key) if isinstance(value, dict) else None
    return tuple(map(str, value)) if isinstance(value, list) and value else None


# --- json and json lines ---------------------------------------------------------------------------------------------


def read_json(file: Path, columns: Columns) -> Iterator[Row]:
    """Read a .json file, in one of the layouts of json_layouts.py."""
    yield from _read_objects(parse_json(read_text(file, columns.options), columns), file, columns)


def read_json_lines(file: Path, columns: Columns) -> Iterator[Row]:
    """Read one object per line."""
    lines = split_lines(read_lines(file, columns.options))
    yield from _read_objects(list(parse_json_lines(lines)), file, columns)


def _read_objects(objects: list[Any], file: Path, columns: Columns) -> Iterator[Row]:
    names = columns.names
    # A column exists if any row has it.
    existing = list(dict.fromkeys(name for row in objects if isinstance(row, dict) for name in row))
    for number, row in enumerate(objects, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"row {number} is not an object with {' and '.join(map(repr, names))}")
        if number == 1:
            columns.check_present(existing, file)
        yield tuple(row.get(name) for name in names)
    if not objects:
        raise DataError(f"{file}: no texts; expected rows with {' and '.join(map(repr, names))}")
