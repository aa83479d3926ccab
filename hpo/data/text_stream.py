"""Texts of a file, one after the other, in little memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from select import select
from typing import Any

from hpo.data.readers import (
    csv_options,
    parse_json_lines,
    read_json_rows,
    reader_for,
    reading_errors,
    require_column,
    strict_rows,
)
from hpo.errors import DataError

CHUNK_ROWS = 1000  # of a table that are in memory at once
BLOCK_BYTES = 2**16  # bytes, as much as a pipe holds
POLL_SECONDS = 0.05  # seconds, in which a program that writes all it can has written more


def read_texts(file: Path, column: str | None = None, usual: str = "text") -> Iterator[str]:
    """The texts in a file's column, which is the usual one where none is named, or a .txt's lines.

    All but .json is read bit by bit. Raises DataError, for what stands up to the first text at once: no such file, no
    such column, an unknown suffix, a file that cannot be read, an empty text, no text at all.
    """
    if not file.exists():
        raise DataError(f"{file}: no such file (--file)")
    reader = reader_for(file, STREAM_READERS)
    if reader is _txt and column is not None:
        raise DataError(f"{file}: a .txt holds a text a line and no columns; leave out --text {column}")
    rows = reader(file, usual if column is None else column)
    found = _checked(rows, str(file), "line" if reader is _txt else "text in row")
    return chain([next(found)], found)


def read_lines(handle: Iterable[bytes], where: str) -> Iterator[str]:
    """The lines of a Pipe, as they come. Raises DataError as `texts` does, with the line's number."""
    return _checked(_decoded(handle), where, "line")


class LinePipe:
    """The lines of a pipe or a terminal, and whether the next is there already; from its file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        while block := os.read(self._descriptor, BLOCK_BYTES):
            *whole, rest = (rest + block).split(b"\n")
            self._lines.extend(whole)
            while self._lines:
                yield self._lines.popleft()
        if rest:
            yield rest

    def ready(self) -> bool:
        """Whether a line is there without waiting: who writes may wait for an answer first."""
        try:
            return bool(self._lines or select([self._descriptor], [], [], POLL_SECONDS)[0])
        except (OSError, ValueError):  # Windows can tell of sockets only
            return False


def check_text(text: object, place: str, when: str = "") -> str:
    """A text that can be classified: as it came. Raises DataError with its place: null, blank, broken, no string."""
    if text is None or isinstance(text, float) and text != text or isinstance(text, str) and not text.strip():
        raise DataError(f"{place} is empty{when or ' or null'}; fill or remove it")
    if not isinstance(text, str):
        raise DataError(f"{place} is a {type(text).__name__}, {text!r:.40}; expected a string")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{place} holds half a character; save it as UTF-8") from None
    return text


def _checked(rows: Iterable[Any], where: str, unit: str) -> Iterator[str]:
    number = 0
    with reading_errors(where):
        for number, row in enumerate(rows, start=1):
            yield check_text(row, f"{where}: {unit} {number}")
    if not number:
        raise DataError(f"{where}: no texts")


# --- readers ----------------------------------------------------------------------------------------------------------


def _csv(file: Path, column: str) -> Iterator[Any]:
    import pandas

    rules = csv_options(file) | {"dtype": str}
    try:
        columns = list(pandas.read_csv(file, nrows=0, **rules).columns)
    except pandas.errors.EmptyDataError:
        return
    require_column(column, "--text", columns, str(file))
    # In a file of one column an empty line is an empty text: skipped, it would shift all answers after it.
    with pandas.read_csv(file, chunksize=CHUNK_ROWS, skip_blank_lines=len(columns) > 1, **rules) as tables:
        while True:
            with strict_rows():
                table = next(tables, None)
            if table is None:
                return
            yield from table[column].astype(object).where(table[column].notna(), None)


def _parquet(file: Path, column: str) -> Iterator[Any]:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(file) as table:
        require_column(column, "--text", table.schema_arrow.names, str(file))
        for batch in table.iter_batches(CHUNK_ROWS, columns=[column]):
            yield from batch.column(column).to_pylist()


def _json(file: Path, column: str) -> Iterator[Any]:
    yield from _objects(read_json_rows(file), column, str(file))


def _jsonl(file: Path, column: str) -> Iterator[Any]:
    with file.open("rb") as handle:
        yield from _objects(parse_json_lines(_decoded(handle)), column, str(file))


def _objects(rows: Iterable[Any], column: str, where: str) -> Iterator[Any]:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"row {number} is no object with {column!r}")
        if number == 1:
            require_column(column, "--text", list(row), where)
        yield row.get(column)


def _txt(file: Path, column: str) -> Iterator[str]:
    with file.open("rb") as handle:
        yield from _decoded(handle)


def _decoded(handle: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(handle, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise ValueError(f"line {number} is not UTF-8") from None


Reader = Callable[[Path, str], Iterator[Any]]
STREAM_READERS: dict[str, Reader] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".json": _json,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
    ".txt": _txt,
}
