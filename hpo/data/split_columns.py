"""Read the columns that decide in which split a row may be: `data.group` and `data.order`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from hpo.data.readers import RawTable
from hpo.data.text_validation import empty_rows_error, is_empty
from hpo.errors import DataError, quote_value

OrderValue = int | float  # a number, or the microseconds of a date

_NUMBERS = "numbers"
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,1000}")  # Python converts no more than some thousand digits
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")  # ISO 8601 allows it, datetime.fromisoformat does not
_EPOCH, _MICROSECOND = datetime(1970, 1, 1), timedelta(microseconds=1)
_ACCEPTED = "numbers or ISO 8601 dates such as 2024-01-31 or 2024-01-31T18:30"


def name_groups(table: RawTable) -> list[str]:
    """Return the group of each row of a table. Raises DataError for a row without one.

    Numbers are named by their digits, so that 12 of a parquet file is the group "12" of a csv file.
    """
    if empty_rows := [row for row, group in enumerate(table.groups) if is_empty(group)]:
        raise empty_rows_error(table.where, "group (data.group)", empty_rows)
    names = []
    for row, group in enumerate(table.groups, start=1):
        if isinstance(group, list | dict):
            raise DataError(
                f"{table.where}: group {quote_value(group)} in row {row} (data.group) is a {type(group).__name__}; "
                "expected one name or number per row"
            )
        # pandas writes whole numbers as decimal ones if a column once had gaps.
        is_whole = isinstance(group, float) and group.is_integer()
        names.append(str(int(group)) if is_whole else str(group).strip())
    return names


def parse_order(tables: Sequence[RawTable]) -> list[list[OrderValue]]:
    """Return what the rows of each table are ordered by: numbers, or dates as numbers, in all tables of a study.

    Raises DataError for a row without a value, one that is neither, and a mixture. Other dates are not guessed:
    2.1.2024 is January for some and February for others, and as text it comes after 10.1.2024.
    """
    kinds: dict[str, str] = {}  # kind -> the first row that has it
    values: list[list[OrderValue]] = []
    for table in tables:
        if empty_rows := [row for row, value in enumerate(table.orders) if is_empty(value)]:
            raise empty_rows_error(table.where, "value of data.order", empty_rows)
        values.append([])
        for row, raw in enumerate(table.orders, start=1):
            parsed = _parse_text(raw.strip()) if isinstance(raw, str) else _parse_value(raw)
            if parsed is None:
                raise DataError(
                    f"{table.where}: {quote_value(raw)} in row {row} (data.order) cannot be ordered; "
                    f"expected {_ACCEPTED}: convert the column"
                )
            kind, value = parsed
            values[-1].append(value)
            if kind not in kinds:
                kinds[kind] = f"{quote_value(raw)} in row {row} of {table.where}"
    if len(kinds) > 1:
        examples = " and ".join(f"{kind} ({example})" for kind, example in kinds.items())
        raise DataError(f"data.order: has {examples}, which cannot be compared; convert the column to one kind")
    return values


def _parse_text(text: str) -> tuple[str, OrderValue] | None:
    """Return the kind of a number or date and its value, or None for what is neither."""
    if _WHOLE_NUMBER.fullmatch(text):
        return _NUMBERS, int(text)  # 20240131 too: as numbers, such dates have the right order
    if _NUMBER.fullmatch(text):
        return _parse_value(float(text))
    try:
        return _parse_value(datetime.fromisoformat(f"{text}-01" if _MONTH.fullmatch(text) else text))
    except ValueError:
        return None


def _parse_value(value: Any) -> tuple[str, OrderValue] | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return _NUMBERS, value
    if isinstance(value, float | Decimal):
        return (_NUMBERS, float(value)) if math.isfinite(value) else None
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            return "dates without a time zone", (value - _EPOCH) // _MICROSECOND
        return "dates with a time zone", (value - _EPOCH.replace(tzinfo=UTC)) // _MICROSECOND
    return _parse_value(datetime.combine(value, time())) if isinstance(value, date) else None
