"""Turn the labels of one table into class names: the words of the file, without white space around them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.data.readers import RawTable
from hpo.data.text_validation import empty_rows_error, is_empty
from hpo.errors import DataError, quote_value

MAX_NAME = 1000  # characters of the name of a class


@dataclass(frozen=True)
class LabelColumn:
    """The class of each row of a table by name."""

    where: str
    names: list[str]
    numbers: list[int] | None = None  # the labels, if they are integers
    order: tuple[str, ...] = ()  # the classes in the order of the table, if it names them
    notices: tuple[str, ...] = ()

    @property
    def is_unnamed(self) -> bool:
        """Whether labels are numbers whose classes the table does not name."""
        return self.numbers is not None and not self.order


def name_labels(table: RawTable) -> LabelColumn:
    """Return the class names of a table's rows. Raises DataError for labels that name no class.

    Integers are named by their digits, or by the table's own names of classes; booleans are named True and False, and
    decimal numbers, if all are whole, as integers: pandas writes integers so if a column once had gaps.
    """
    labels, label_notices = _check_labels(table)
    notices = (*table.notices, *label_notices)
    order = tuple(name.strip() for name in table.class_names or ())
    if isinstance(labels[0], str):
        return LabelColumn(table.where, [label.strip() for label in labels], None, tuple(dict.fromkeys(order)), notices)
    if isinstance(labels[0], bool):
        return LabelColumn(table.where, list(map(str, labels)), notices=notices)
    if not order:
        return LabelColumn(table.where, list(map(str, labels)), labels, notices=notices)
    if unknown := [row for row, label in enumerate(labels) if not 0 <= label < len(order)]:
        what = f"none of the classes {format_classes(order)}"
        raise unknown_class_error(table.where, what, unknown, labels, "choose a split that has labels")
    return LabelColumn(table.where, [order[label] for label in labels], labels, order, notices)


def unknown_class_error(where: str, what: str, rows: Sequence[int], labels: Sequence[Any], advice: str) -> DataError:
    """Return the error for rows, counted from 0, whose labels are no classes."""
    count = f"{len(rows)} rows have a label that is" if len(rows) > 1 else "1 row has a label that is"
    return DataError(f"{where}: {count} {what}, first {quote_value(labels[rows[0]])} in row {rows[0] + 1}; {advice}")


def format_classes(classes: Collection[Any], limit: int = 12) -> str:
    """Return the names of classes as a message lists them."""
    return ", ".join(map(quote_value, list(classes)[:limit])) + (", ..." if len(classes) > limit else "")


def refuse_joined_labels(where: str, names: Iterable[str]) -> None:
    """Raise DataError if a class is several others in one cell, such as `noise|price` beside `noise` and `price`."""
    rows: dict[str, int] = {}
    for row, name in enumerate(names, start=1):
        rows.setdefault(name, row)
    for name, row in rows.items():
        for separator in "|;,":
            parts = [part.strip() for part in name.split(separator)]
            if len(parts) > 1 and all(part in rows for part in parts):
                raise DataError(
                    f"{where}: label {quote_value(name)} in row {row} joins labels that occur alone too; several "
                    "labels per text are not supported yet: write one, or rename the class"
                )


def _find_unusable_name(labels: Sequence[Any]) -> str | None:
    """Return what is wrong with the first label that cannot name a class, or None."""
    for row, label in enumerate(labels, start=1):
        if not isinstance(label, str):
            continue
        if len(label) > MAX_NAME:
            return f"the label in row {row} has {len(label):,} characters, {quote_value(label)}; is it the text?"
        if any("\ud800" <= character <= "\udfff" for character in label):
            return f"label {quote_value(label)} in row {row} contains half a character; save or rename it in UTF-8"
    return None


def _check_labels(table: RawTable) -> tuple[list[Any], tuple[str, ...]]:
    """Return the labels, which must be all ints, all bools or all strings, with notices on how they were read."""
    labels, where = table.labels, table.where
    if not labels:
        raise DataError(f"{where}: no rows; expected at least one per class")
    if empty_rows := [row for row, label in enumerate(labels) if is_empty(label)]:
        raise empty_rows_error(where, "label", empty_rows)
    notices: tuple[str, ...] = ()
    if all(isinstance(label, float) and label.is_integer() for label in labels):
        notices = (f"{where}: labels are decimal numbers, read as whole ones: {labels[0]} is class '{int(labels[0])}'",)
        labels = list(map(int, labels))
    first_rows = {type(label): row for row, label in reversed(list(enumerate(labels)))}
    for label_type, row in first_rows.items():
        if label_type in (list, dict):
            raise DataError(
                f"{where}: label {quote_value(labels[row])} in row {row + 1} is a {label_type.__name__}; several "
                "labels per text are not supported yet: write one, a string or an integer"
            )
        if label_type is str and (unusable := _find_unusable_name(labels)):
            raise DataError(f"{where}: {unusable}")
        # Whole floats beside integers are mixed types: 3 and 3.0 are not the same word.
        is_mixed = label_type is float and len(first_rows) > 1 and labels[row].is_integer()
        if label_type not in (int, bool, str) and not is_mixed:
            raise DataError(
                f"{where}: label {quote_value(labels[row])} in row {row + 1} is of type {label_type.__name__}; "
                "use integers or strings"
            )
    if len(first_rows) > 1:
        examples = ", ".join(f"{quote_value(labels[row])} in row {row + 1}" for row in sorted(first_rows.values()))
        raise DataError(f"{where}: labels are of mixed types: {examples}; use integers or strings, not both")
    return labels, notices
