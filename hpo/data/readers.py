"""Read texts and labels from files: READERS has one entry per file format.

Training reads the columns of texts and labels, and those of groups and order, of whole files with `read_files`.
Prediction streams one text column with `read_texts`. A file gives the same texts in both: they call the same reader, or
one that only differs in going on after a text that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Self

from hpo.data.columns import Columns, ReadOptions, Row
from hpo.data.delimited import read_delimited
from hpo.data.file_formats import (
    read_json,
    read_json_lines,
    read_parquet,
    read_parquet_class_names,
)
from hpo.data.row_errors import read_each_json_line, read_each_json_row, read_each_text_line
from hpo.data.text_validation import check_text
from hpo.errors import DataError, shorten, unknown_name

REASON_CHARACTERS = 300  # of a library's message; some quote the file


@dataclass(frozen=True)
class FileFormat:
    """How files with one suffix are read."""

    read_rows: Callable[[Path, Columns], Iterator[Row]]
    read_each: Callable[[Path, Columns], Iterator[Row]] | None = None  # for prediction, see row_errors.py
    has_columns: bool = True  # False for one text per line, which has no labels to train on
    read_class_names: Callable[[Path, str], tuple[str, ...] | None] = lambda file, label: None

    @property
    def row_unit(self) -> str:
        """What a row is called in messages."""
        return "text in row" if self.has_columns else "line"


READERS: dict[str, FileFormat] = {
    ".csv": FileFormat(read_delimited),
    ".tsv": FileFormat(read_delimited),
    ".json": FileFormat(read_json, read_each_json_row),
    ".jsonl": FileFormat(read_json_lines, read_each_json_line),
    ".parquet": FileFormat(read_parquet, read_class_names=read_parquet_class_names),
    ".txt": FileFormat(read_each_text_line, has_columns=False),
}


@dataclass
class RawTable:
    """Rows of a split as one file or another source has them: unchecked texts and labels, with None for null."""

    where: str
    texts: list[Any] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    class_names: tuple[str, ...] | None = None  # if the source itself names and orders the classes
    notices: list[str] = field(default_factory=list)  # what the user should know of how it was read
    groups: list[Any] = field(default_factory=list)  # values of data.group; empty without that key
    orders: list[Any] = field(default_factory=list)  # values of data.order; empty without that key

    @classmethod
    def from_columns(
        cls,
        where: str,
        columns: Columns,
        values: Mapping[str, Sequence[Any]],
        class_names: tuple[str, ...] | None = None,
    ) -> Self:
        """Return a table of the values of each column."""
        texts, labels, groups, orders = (
            list(values[name]) if name is not None else []
            for name in (columns.text, columns.label, columns.group, columns.order)
        )
        return cls(where, texts, labels, class_names, groups=groups, orders=orders)


def read_files(files: Sequence[Path], columns: Columns) -> list[RawTable]:
    """Return the columns of each file.

    Raises DataError for a file that cannot be read, an unknown suffix and a missing column.
    """
    return [_read_file(file, columns) for file in files]


def _read_file(file: Path, columns: Columns) -> RawTable:
    file_format = find_format(file, table_suffixes())
    names = columns.names
    with reading_errors(file):
        rows = list(file_format.read_rows(file, columns))
        values = zip(*rows, strict=True) if rows else ((),) * len(names)
        class_names = file_format.read_class_names(file, str(columns.label))
    return RawTable.from_columns(str(file), columns, dict(zip(names, values, strict=True)), class_names)


def read_texts(
    file: Path, column: str | None = None, default_column: str = "text", options: ReadOptions | None = None
) -> Iterator[str]:
    """Stream the texts of a file: a column (`default_column` if it is None), or the lines of a .txt file.

    Only .json files are read into memory. Everything that is wrong up to the first text raises DataError at once: a
    missing file or column, an unknown suffix, a file that cannot be read, an empty text, no text at all.
    """
    rows, where, unit = _open_texts(file, column, default_column, options)
    texts = check_stream(rows, where, unit)
    return chain([next(texts)], texts)


def read_each_text(
    file: Path, column: str | None, default_column: str, options: ReadOptions | None = None
) -> Iterator[str | DataError]:
    """Stream the texts of a file as `read_texts` does, with a DataError in the place of one that is unusable."""
    rows, where, unit = _open_texts(file, column, default_column, options)
    texts = check_each(rows, where, unit)
    return chain([next(texts)], texts)


def _open_texts(
    file: Path, column: str | None, default_column: str, options: ReadOptions | None
) -> tuple[Iterator[object], str, str]:
    """Return the unchecked texts of a file, its name, and what messages call a row."""
    if not file.exists():
        raise DataError(f"{file}: no such file (--file)")
    if file.is_dir():
        raise DataError(f"{file}: is a folder; --file needs a file ({', '.join(READERS)})")
    file_format = find_format(file, READERS)
    if column is not None and not file_format.has_columns:
        raise DataError(f"{file}: a {file.suffix} file has one text per line and no columns; leave out --text {column}")
    options = options or ReadOptions(are_arguments=True)
    columns = Columns(default_column if column is None else column, text_option="--text", options=options)
    read_rows = file_format.read_each or file_format.read_rows
    return _select_texts(read_rows, file, columns), str(file), file_format.row_unit


def _select_texts(
    read_rows: Callable[[Path, Columns], Iterator[Row]], file: Path, columns: Columns
) -> Iterator[object]:
    # A generator, so that errors of opening the file are raised where reading errors are expected.
    for (text,) in read_rows(file, columns):
        yield text


def check_stream(texts: Iterable[object], where: str, unit: str) -> Iterator[str]:
    """Yield each text if it can be classified. Raises DataError with the number of the first one that cannot."""
    for text in check_each(texts, where, unit):
        if isinstance(text, DataError):
            raise text
        yield text


def check_each(texts: Iterable[object], where: str, unit: str) -> Iterator[str | DataError]:
    """Yield each text if it can be classified, and the DataError with its number in the place of one that cannot.

    A DataError among the texts, of one that could not be read, is yielded as it is.
    """
    number = 0
    with reading_errors(where):
        for number, text in enumerate(texts, start=1):
            if isinstance(text, DataError):
                yield text
                continue
            try:
                checked: str | DataError = check_text(text, f"{where}: {unit} {number}")
            except DataError as error:
                checked = error
            yield checked
    if not number:
        raise DataError(f"{where}: no texts; expected at least one")


def find_format(file: Path, suffixes: Iterable[str]) -> FileFormat:
    """Return the format for a file's suffix. Raises DataError if it is none of `suffixes`."""
    suffixes = list(suffixes)
    if file.suffix.lower() not in suffixes:
        raise DataError(f"{file}: suffix {file.suffix or 'none'} {unknown_name(file.suffix, suffixes)}")
    return READERS[file.suffix.lower()]


def table_suffixes() -> list[str]:
    """Return the suffixes of files that have columns, and thus labels to train on."""
    return [suffix for suffix, file_format in READERS.items() if file_format.has_columns]


@contextmanager
def reading_errors(where: object) -> Iterator[None]:
    """Turn what libraries raise for an unreadable file into a DataError."""
    try:
        yield
    # pyarrow, json and the codecs derive their errors from ValueError, pyarrow some of them from NotImplementedError.
    except RecursionError:
        raise DataError(f"{where}: cannot be read: its values are nested too deeply") from None
    except (OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{where}: cannot be read: {describe_reason(error)}") from None


def describe_reason(error: Exception) -> str:
    """Return a library's message on one line, or the type of the error if it has none."""
    return shorten(" ".join(str(error).split()), REASON_CHARACTERS) or type(error).__name__
