"""Read the rows of csv, tsv, json, jsonl, parquet and txt files, one function per format.

Each function yields rows with the values of the wanted columns. Rows are yielded before later ones are read, except
those of .json files, and of .csv files if labels are wanted too.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import DataError, unknown_name

CHUNK_ROWS = 1000  # rows of a streamed table in memory at a time


@dataclass(frozen=True)
class Columns:
    """The columns to read. Without a label column, only texts are read, in little memory."""

    text: str
    label: str | None = None
    text_option: str = "data.text"  # what sets the text column, for error messages

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns to read, in the order of a row's values."""
        return (self.text,) if self.label is None else (self.text, self.label)

    def check_present(self, existing: Sequence[Any], where: object) -> None:
        """Raise DataError if the text or label column does not exist."""
        for name, option in zip(self.names, (self.text_option, "data.label"), strict=False):
            if name not in existing:
                columns = [str(column) for column in existing]
                suggestion = unknown_name(name, columns)
                # Without a similar name the suggestion lists the columns itself.
                listed = "" if ", ".join(sorted(columns)) in suggestion else f" (columns: {', '.join(columns)})"
                raise DataError(f"{where}: column {name!r} ({option}) {suggestion}{listed}")


Row = Sequence[Any]  # the values of Columns.names; None for null


# --- csv and tsv ------------------------------------------------------------------------------------------------------


def read_csv(file: Path, columns: Columns) -> Iterator[Row]:
    """Read a .csv or .tsv file; if only texts are wanted, in chunks of rows."""
    import pandas

    options = {
        "sep": "\t" if file.suffix.lower() == ".tsv" else ",",
        "encoding": "utf-8-sig",
        "keep_default_na": False,  # "NA", "null" and "None" are words; only an empty field is null
        "na_values": [""],
        "index_col": False,
        "low_memory": False,
        "dtype": str if columns.label is None else {columns.text: str},
    }
    try:
        header = list(pandas.read_csv(file, nrows=0, **options).columns)
    except pandas.errors.EmptyDataError:
        raise _empty_file_error(file, columns) from None
    columns.check_present(header, file)
    tables = pandas.read_csv(
        file,
        iterator=True,
        # Labels are read in one piece: pandas infers their type from all rows, and types of chunks would differ.
        chunksize=CHUNK_ROWS if columns.label is None else None,
        # In a file with a single column, an empty line is an empty text. If it were skipped, all later predictions
        # would belong to the wrong line.
        skip_blank_lines=len(header) > 1,
        **options,
    )
    with tables:
        while True:
            with _strict_row_length():
                table = next(tables, None)
            if table is None:
                return
            values = [table[name].astype(object).where(table[name].notna(), None).tolist() for name in columns.names]
            if columns.label is not None:
                values[1] = _restore_integers(values[1])
            yield from zip(*values, strict=True)


@contextmanager
def _strict_row_length() -> Iterator[None]:
    """Raise an error for a row that is longer than the header; pandas would cut it and warn."""
    import pandas

    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        yield


def _restore_integers(labels: list[Any]) -> list[Any]:
    """Undo pandas' conversion of numbers to text, which one word among them causes.

    Such labels are of mixed types, which `load_splits` refuses with the rows of both.
    """
    if not any(isinstance(label, str) for label in labels):
        return labels
    return [int(label) if isinstance(label, str) and is_integer_text(label) else label for label in labels]


def is_integer_text(text: str) -> bool:
    """Whether a text is an integer."""
    return text.strip().removeprefix("-").isdecimal()


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
        metadata = json.loads((table.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        if names := metadata.get("info", {}).get("features", {}).get(label, {}).get("names"):
            return tuple(names)
        if not is_dictionary(table.schema_arrow.field(label).type):
            return None
        # Row groups can have dictionaries of their own.
        column = table.read(columns=[label]).unify_dictionaries().column(label)
    categories = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
    return tuple(categories) if categories and all(isinstance(name, str) for name in categories) else None


# --- json, json lines and text ----------------------------------------------------------------------------------------


def read_json(file: Path, columns: Columns) -> Iterator[Row]:
    """Read a list of objects, or one object per line, which is what `datasets` writes with the suffix .json."""
    text = file.read_text(encoding="utf-8-sig")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        content = list(_parse_json_lines(text.split("\n")))
    yield from _read_objects(content if isinstance(content, list) else [content], file, columns)


def read_json_lines(file: Path, columns: Columns) -> Iterator[Row]:
    """Read one object per line, line by line."""
    with file.open("rb") as handle:
        yield from _read_objects(_parse_json_lines(decode_lines(handle)), file, columns)


def _parse_json_lines(lines: Iterable[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error.msg}") from None


def _read_objects(objects: Iterable[Any], file: Path, columns: Columns) -> Iterator[Row]:
    names, number, existing = columns.names, 0, None
    if columns.label is not None:
        # A column exists if any row has it. Streaming cannot know that: it takes the columns of the first row, and a
        # key that a later row lacks is null.
        objects = list(objects)
        existing = list(dict.fromkeys(name for row in objects if isinstance(row, dict) for name in row))
    for number, row in enumerate(objects, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"row {number} is not an object with {' and '.join(map(repr, names))}")
        if number == 1:
            columns.check_present(existing or list(row), file)
        yield tuple(row.get(name) for name in names)
    if not number:
        raise _empty_file_error(file, columns)


def read_text_lines(file: Path, columns: Columns) -> Iterator[Row]:
    """Read one text per line, line by line."""
    with file.open("rb") as handle:
        for line in decode_lines(handle):
            yield (line,)


def decode_lines(lines: Iterable[bytes]) -> Iterator[str]:
    """Yield lines as text, without their ends. Raises ValueError with the number of a line that is not UTF-8.

    The lines of a file opened as text would not do: an error there has the position in a block, but no line number.
    """
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise ValueError(f"line {number} is not UTF-8") from None


def _empty_file_error(file: Path, columns: Columns) -> DataError:
    return DataError(f"{file}: no texts; expected rows with {' and '.join(map(repr, columns.names))}")
