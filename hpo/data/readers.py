"""READERS: csv, tsv, json, jsonl, parquet -> rows as given."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hpo.errors import DataError, unknown_name
from hpo.study.spec import DataSpec

Reader = TypeVar("Reader")


@dataclass
class RawSplit:
    """One split as given: a text and a label a row, unchecked; None stands for null."""

    where: str
    texts: list[Any] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    names: tuple[str, ...] | None = None  # of classes, where the source itself names and orders them


def read_files(files: list[Path], spec: DataSpec) -> RawSplit:
    """The text and label columns of all files, one after the other.

    Raises DataError for a file that cannot be read, a suffix without a reader, a column that is not there.
    """
    raw = RawSplit(str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more")
    for file in files:
        reader = reader_for(file, READERS)
        with reading_errors(file):
            part = reader(file, spec)
        raw.texts += part.texts
        raw.labels += part.labels
        raw.names = raw.names or part.names
    return raw


def reader_for(file: Path, readers: Mapping[str, Reader]) -> Reader:
    """The reader for a file's suffix. Raises DataError where there is none."""
    if file.suffix.lower() not in readers:
        raise DataError(f"{file}: suffix {file.suffix or 'none'} {unknown_name(file.suffix, readers)}")
    return readers[file.suffix.lower()]


@contextmanager
def reading_errors(where: object) -> Iterator[None]:
    """What the libraries raise inside for a file that they cannot read becomes a DataError."""
    try:
        yield
    except (OSError, ValueError, Warning) as error:  # pandas, pyarrow, json and utf-8 raise their own ValueErrors
        raise DataError(f"{where}: cannot be read: {' '.join(str(error).split())}") from None


@contextmanager
def strict_rows() -> Iterator[None]:
    """A csv row that is longer than the header is an error inside; pandas would cut it, with a warning."""
    import pandas

    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        yield


def csv_options(file: Path) -> dict[str, Any]:
    """How pandas is to read a csv or tsv."""
    return {
        "sep": "\t" if file.suffix.lower() == ".tsv" else ",",
        "encoding": "utf-8-sig",
        "keep_default_na": False,  # "NA", "null" and "None" are words; only an empty field is null
        "na_values": [""],
        "index_col": False,
        "low_memory": False,
    }


def _csv(file: Path, spec: DataSpec) -> RawSplit:
    import pandas

    with strict_rows():
        table = pandas.read_csv(file, dtype={spec.text: str}, **csv_options(file))
    raw = _columns(file, table, spec)
    if {type(label) for label in raw.labels} >= {str}:
        # One word among numbers makes pandas read them all as text: give the numbers back, to be refused as mixed.
        raw.labels = [
            int(label) if isinstance(label, str) and is_integer_text(label) else label for label in raw.labels
        ]
    return raw


def is_integer_text(text: str) -> bool:
    """Whether a text is a whole number."""
    return text.strip().removeprefix("-").isdecimal()


def _parquet(file: Path, spec: DataSpec) -> RawSplit:
    import pandas
    from pyarrow.parquet import read_schema

    raw = _columns(file, pandas.read_parquet(file), spec)
    about = json.loads((read_schema(file).metadata or {}).get(b"huggingface", b"{}"))  # `datasets` keeps names there
    names = about.get("info", {}).get("features", {}).get(spec.label, {}).get("names")
    raw.names = tuple(names) if names else raw.names
    return raw


def _columns(file: Path, table: Any, spec: DataSpec) -> RawSplit:
    """The two columns of a pandas.DataFrame; a categorical label brings its classes with it."""
    require_columns(spec, list(table.columns), str(file))
    texts, labels = (
        table[name].astype(object).where(table[name].notna(), None).tolist() for name in (spec.text, spec.label)
    )
    categories = tuple(getattr(table[spec.label].dtype, "categories", ()))
    words = categories and all(isinstance(name, str) for name in categories)
    return RawSplit(str(file), texts, labels, categories if words else None)


def read_json_rows(file: Path) -> list[Any]:
    """A list of objects; or, in spite of the suffix, an object a line, as `datasets` writes them."""
    text = file.read_text(encoding="utf-8-sig")
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        return list(parse_json_lines(text.split("\n")))
    return rows if isinstance(rows, list) else [rows]


def parse_json_lines(lines: Iterable[str]) -> Iterator[Any]:
    """The value in each line that is not blank. Raises ValueError with the number of a line that is no JSON."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error.msg}") from None


def _json(file: Path, spec: DataSpec) -> RawSplit:
    return _objects(file, read_json_rows(file), spec)


def _jsonl(file: Path, spec: DataSpec) -> RawSplit:
    return _objects(file, list(parse_json_lines(file.read_text(encoding="utf-8-sig").split("\n"))), spec)


def _objects(file: Path, rows: list[Any], spec: DataSpec) -> RawSplit:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"row {number} is no object with {spec.text!r} and {spec.label!r}")
    require_columns(spec, list(dict.fromkeys(name for row in rows for name in row)), str(file))
    return RawSplit(str(file), [row.get(spec.text) for row in rows], [row.get(spec.label) for row in rows])


def require_columns(spec: DataSpec, columns: list[Any], where: str) -> None:
    """Raise DataError where the text or the label column is not among the columns."""
    require_column(spec.text, "data.text", columns, where)
    require_column(spec.label, "data.label", columns, where)


def require_column(name: str, key: str, columns: list[Any], where: str) -> None:
    """Raise DataError where a column is not there; `key` is where the user names it."""
    if name not in columns:
        known = [str(column) for column in columns]
        near = unknown_name(name, known)
        shown = "" if ", ".join(sorted(known)) in near else f" (columns: {', '.join(known)})"
        raise DataError(f"{where}: column {name!r} ({key}) {near}{shown}")


READERS: dict[str, Callable[[Path, DataSpec], RawSplit]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".json": _json,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
