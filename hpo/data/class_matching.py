"""Match the classes of all tables of a study by name: each table may number its classes in an order of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hpo.data.class_names import LabelColumn, format_classes, refuse_joined_labels, unknown_class_error
from hpo.errors import DataError, quote_value

LabelColumns = Mapping[str, Sequence[LabelColumn]]  # by split


@dataclass(frozen=True)
class MatchedClasses:
    """The class names of a study in order, each split's labels as positions in them, and notices for the user."""

    names: tuple[str, ...]
    labels: dict[str, list[int]]
    notices: tuple[str, ...]


def match_classes(columns: LabelColumns) -> MatchedClasses:
    """Return the classes of train, and the labels of all splits. Raises DataError if they do not fit together."""
    read_notices = [notice for split in columns.values() for column in split for notice in column.notices]
    columns, number_notices = _name_numbers(columns)
    names = _order_classes(columns["train"])
    positions = {name: position for position, name in enumerate(names)}
    labels: dict[str, list[int]] = {split: [] for split in columns}
    for split, split_columns in columns.items():
        for column in split_columns:
            if unknown := [row for row, name in enumerate(column.names) if name not in positions]:
                raise unknown_class_error(
                    column.where,
                    "no class of train",
                    unknown,
                    column.names,
                    f"the classes of {describe_tables(columns['train'])} are {format_classes(names)}",
                )
            labels[split] += [positions[name] for name in column.names]
    return MatchedClasses(names, labels, (*read_notices, *number_notices))


def describe_tables(columns: Sequence[LabelColumn]) -> str:
    """Return what a message calls the tables of a split."""
    return columns[0].where + (f" and {len(columns) - 1} more" if len(columns) > 1 else "")


def _order_classes(train: Sequence[LabelColumn]) -> tuple[str, ...]:
    """Return the classes of train: in the order of its tables if they have one, whole numbers by size, or by words."""
    where = describe_tables(train)
    rows = [name for column in train for name in column.names]
    existing = set(rows)
    if ordered := list(dict.fromkeys(name for column in train for name in column.order)):
        for column in train:
            if unknown := [row for row, name in enumerate(column.names) if name not in ordered]:
                raise unknown_class_error(
                    column.where,
                    f"none of the classes {format_classes(ordered)}",
                    unknown,
                    column.names,
                    "choose a split that has labels",
                )
    elif all(column.is_unnamed for column in train):
        ordered = sorted(existing, key=int)
    else:
        ordered = sorted(existing)
    if len(existing) == 1:
        raise DataError(f"{where}: all {len(rows)} labels are {quote_value(rows[0])}; classification needs two classes")
    if missing := [name for name in ordered if name not in existing]:
        raise DataError(f"{where}: class {quote_value(missing[0])} has no row in train; remove the class or add rows")
    refuse_joined_labels(where, rows)
    return tuple(ordered)


# --- numbers beside names ---------------------------------------------------------------------------------------------


def _name_numbers(columns: LabelColumns) -> tuple[LabelColumns, list[str]]:
    """Match numbers of a table without class names with the classes that another table numbers.

    `datasets` writes only the numbers of classes to csv and json files, so they can stand beside a parquet file that
    has the names. The study keeps the words of train. A notice tells what was assumed.
    """
    train = columns["train"]
    if any(column.order for column in train):
        return _name_by_train(
            columns, {column.order for column in train if column.numbers is not None and column.order}
        )
    train_words = {name for column in train for name in column.names}
    if not all(column.is_unnamed for column in train):
        return columns, []
    return _number_as_train(columns, train_words)


def _name_by_train(columns: LabelColumns, numberings: set[tuple[str, ...]]) -> tuple[LabelColumns, list[str]]:
    """Give numbers the names of train's classes, unless they are names of classes themselves."""
    words = {name for column in columns["train"] for name in column.order}
    named, notices = {}, []
    for split, split_columns in columns.items():
        named[split] = list(split_columns)
        for index, column in enumerate(split_columns):
            if not (numberings and column.is_unnamed and words.isdisjoint(column.names)):
                continue
            order = _only_numbering(column, numberings)
            numbers = column.numbers or []
            if all(0 <= number < len(order) for number in numbers):
                named[split][index] = replace(column, names=[order[number] for number in numbers], order=order)
                notices.append(_describe_assumption(column, order))
    return named, notices


def _number_as_train(columns: LabelColumns, train_words: set[str]) -> tuple[LabelColumns, list[str]]:
    """Give named classes of other splits the numbers that train has instead of names."""
    others = [
        column
        for split, split_columns in columns.items()
        for column in split_columns
        if split != "train" and column.order and column.numbers is not None and train_words.isdisjoint(column.order)
    ]
    matching = [column for column in others if train_words == set(map(str, range(len(column.order))))]
    if not matching:
        return columns, []
    order = _only_numbering(columns["train"][0], {column.order for column in matching})
    numbered = {
        split: [
            replace(column, names=list(map(str, column.numbers or [])), order=()) if column in matching else column
            for column in split_columns
        ]
        for split, split_columns in columns.items()
    }
    return numbered, [_describe_assumption(columns["train"][0], order)]


def _only_numbering(column: LabelColumn, numberings: set[tuple[str, ...]]) -> tuple[str, ...]:
    if len(numberings) > 1:
        listed = " and ".join(f"({format_classes(order)})" for order in sorted(numberings))
        raise DataError(
            f"{column.where}: labels are numbers, and other files number the classes differently: {listed}; "
            "write the names of the classes"
        )
    return next(iter(numberings))


def _describe_assumption(column: LabelColumn, order: tuple[str, ...]) -> str:
    meanings = ", ".join(f"{number} is {quote_value(name)}" for number, name in enumerate(order[:12]))
    return f"{column.where}: labels are numbers, matched with the class names of other files: {meanings}"
