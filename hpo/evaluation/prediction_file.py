"""Read the predictions of a system from a file: labels, probabilities if it has them, and which rows they are of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.data.class_names import format_classes, name_labels, unknown_class_error
from hpo.data.columns import Columns, ReadOptions, list_columns
from hpo.data.delimited import is_whole_number
from hpo.data.readers import FileFormat, RawTable, find_format, reading_errors, table_suffixes
from hpo.data.text_validation import check_text_column
from hpo.errors import DataError, quote_value
from hpo.evaluation.prediction_table import PredictionTable

ROW_COLUMN = "row"
PROBABILITY_PREFIX = "probability_"  # of a column that is named after a class
SUM_TOLERANCE = 0.01  # probabilities are often written with two or three digits
TIE = 1e-9  # added to the probability of a label that is as probable as another


@dataclass(frozen=True)
class PredictionColumns:
    """The columns of a file of predictions, as its user names them."""

    row: str | None = None  # by default ROW_COLUMN, if there is one
    text: str | None = None
    label: str = "label"
    default_text: str = "text"
    options: ReadOptions = field(default_factory=ReadOptions)


def read_prediction_file(file: Path, columns: PredictionColumns, names: Sequence[str]) -> PredictionTable:
    """Read the predictions in a file for the classes `names`.

    Raises:
        DataError: There is no such file, or it has unknown labels, or invalid rows or probabilities.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such file of predictions")
    file_format = find_format(file, table_suffixes())
    existing = _read_header(file, file_format, columns)
    row_column = _choose_row_column(columns, existing)
    key, where = row_column or columns.text or columns.default_text, str(file)
    class_columns = _find_class_columns(where, existing, names, {key, columns.label})
    values = _read_columns(file, file_format, [key, columns.label, *class_columns], existing, columns.options)
    class_names = file_format.read_class_names(file, columns.label)
    labels = _match_labels(RawTable(where, values[key], values[columns.label], class_names), names)
    if class_columns:
        probabilities = _check_probabilities(where, [values[column] for column in class_columns])
        _prefer_labels(where, probabilities, labels)
    else:
        probabilities = np.eye(len(names))[labels]
    rows = _parse_row_numbers(where, row_column, values[key]) if row_column else None
    texts = [] if row_column else check_text_column(values[key], where)
    return PredictionTable(where, labels, probabilities, bool(class_columns), rows, texts)


class _HeaderReached(Exception):
    """Carries the columns of a file out of a reader."""

    def __init__(self, existing: Iterable[Any]) -> None:
        self.existing = [str(name) for name in existing]


class _HeaderProbe(Columns):
    """Asks a reader for the columns of a file: every reader checks the wanted columns against those that exist."""

    def find_missing(self, existing: Iterable[Any]) -> tuple[str, str] | None:
        raise _HeaderReached(existing)

    def check_present(self, existing: Sequence[Any], where: object, cause: str = "") -> None:
        raise _HeaderReached(existing)


@dataclass(frozen=True)
class _WantedColumns(Columns):
    """Any number of columns that exist."""

    wanted: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.wanted


def _read_header(file: Path, file_format: FileFormat, columns: PredictionColumns) -> list[str]:
    # The second name is in no file, so a reader of column-wise JSON looks at all columns.
    probe = _HeaderProbe(columns.label, "\0", options=columns.options)
    try:
        with reading_errors(file):
            next(iter(file_format.read_rows(file, probe)))
    except _HeaderReached as header:
        return header.existing
    raise AssertionError(f"{file}: its reader does not check the columns")


def _choose_row_column(columns: PredictionColumns, existing: Sequence[str]) -> str | None:
    """Return the column of row numbers, or None if predictions are matched by text."""
    return columns.row or (ROW_COLUMN if columns.text is None and ROW_COLUMN in existing else None)


def _find_class_columns(where: str, existing: Sequence[str], names: Sequence[str], others: set[str]) -> list[str]:
    """Return the column of each class's probability, named after the class; none if the file has labels only."""
    available = set(existing) - others
    candidates = {name: [PROBABILITY_PREFIX + name, name] for name in names}
    columns = {name: next((c for c in choices if c in available), None) for name, choices in candidates.items()}
    missing = [name for name, column in columns.items() if column is None]
    if missing and len(missing) < len(names):
        raise DataError(
            f"{where}: has probabilities of {len(names) - len(missing)} of {len(names)} classes, and no column for "
            f"{quote_value(missing[0])}; add it, or leave all of them out"
        )
    return [column for column in columns.values() if column is not None]


def _read_columns(
    file: Path, file_format: FileFormat, wanted: Sequence[str], existing: Sequence[str], options: ReadOptions
) -> dict[str, list[Any]]:
    """Return column -> values. Raises DataError for a missing column and for a file that cannot be read."""
    for name in wanted:
        if list(existing).count(name) != 1:
            count = "no column" if name not in existing else "several columns"
            raise DataError(f"{file}: has {count} {quote_value(name)}; its columns are {list_columns(existing)}")
    with reading_errors(file):
        rows = list(file_format.read_rows(file, _WantedColumns(wanted[0], options=options, wanted=tuple(wanted))))
    return {name: [row[index] for row in rows] for index, name in enumerate(wanted)}


def _match_labels(table: RawTable, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the predicted labels as positions in the class names."""
    column, positions = name_labels(table), {name: position for position, name in enumerate(names)}
    if unknown := [row for row, name in enumerate(column.names) if name not in positions]:
        advice = f"the classes are {format_classes(names)}"
        raise unknown_class_error(table.where, "no class", unknown, column.names, advice)
    return np.array([positions[name] for name in column.names])


def _check_probabilities(where: str, columns: Sequence[Sequence[Any]]) -> NDArray[np.float64]:
    """Return the probabilities (n, k), which sum to 1."""
    values = np.array([[_parse_number(value) for value in row] for row in zip(*columns, strict=True)])
    invalid = np.flatnonzero(~((values >= 0) & (values <= 1)).all(axis=1))  # NaN is neither
    if len(invalid):
        row = int(invalid[0])
        value = next(c[row] for c, number in zip(columns, values[row], strict=True) if not 0 <= number <= 1)
        raise DataError(
            f"{where}: {_count_rows(invalid, 'a probability')} that is no number from 0 to 1, first "
            f"{quote_value(value)} in row {row + 1}; correct them, or leave all probabilities out"
        )
    sums = values.sum(axis=1)
    wrong = np.flatnonzero(abs(sums - 1) > SUM_TOLERANCE)
    if len(wrong):
        raise DataError(
            f"{where}: {_count_rows(wrong, 'probabilities')} that do not sum to 1, first row {wrong[0] + 1} with "
            f"{sums[wrong[0]]:.3f}; correct them, or leave all probabilities out"
        )
    return np.asarray(values / sums[:, None])


def _prefer_labels(where: str, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    """Make each label the most probable class of its row, where it shares this with another.

    Raises:
        DataError: A label is not the most probable class. Scores of labels and of probabilities would contradict.
    """
    rows = np.arange(len(labels))
    other = np.flatnonzero(probabilities[rows, labels] < probabilities.max(axis=1) - TIE)
    if len(other):
        raise DataError(
            f"{where}: {_count_rows(other, 'a label')} that is not the most probable class, first row {other[0] + 1}; "
            "correct them, or leave all probabilities out to compare labels alone"
        )
    probabilities[rows, labels] += 2 * TIE


def _parse_row_numbers(where: str, column: str, values: Sequence[Any]) -> list[int]:
    """Return row numbers from 0; the file counts from 1, as messages and reports do."""
    numbers = [int(value) if _is_row_number(value) else 0 for value in values]
    if invalid := [row for row, number in enumerate(numbers) if number < 1]:
        raise DataError(
            f"{where}: {_count_rows(invalid, f'a {column}')} that is no row number, first "
            f"{quote_value(values[invalid[0]])} in row {invalid[0] + 1}; rows count from 1"
        )
    return [number - 1 for number in numbers]


def _is_row_number(value: Any) -> bool:
    if isinstance(value, str):
        return is_whole_number(value.strip())
    return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()


def _parse_number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _count_rows(rows: Sequence[Any] | NDArray[Any], what: str) -> str:
    return f"{len(rows):,} rows have {what}" if len(rows) != 1 else f"1 row has {what}"
