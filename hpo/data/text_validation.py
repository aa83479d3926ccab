"""Check that a text can be classified: the one rule for training and prediction."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.errors import DataError, quote_value


def check_text(text: object, where: str, when: str = "") -> str:
    """Return a text unchanged if it can be classified.

    Raises DataError for null, NaN, a blank text, another type than str and an invalid character. The message starts
    with `where`; `when` says when a text became blank, such as " after cleaning".
    """
    if is_empty(text):
        raise DataError(f"{where} is empty{when or ' or null'}; fill or remove it")
    if not isinstance(text, str):
        raise DataError(f"{where} is of type {type(text).__name__}, {quote_value(text)}; expected a string")
    try:
        # A lone surrogate is a valid Python str that neither tokenizers nor hashlib can encode. JSON files of
        # tweets contain some, where an emoji was cut in half.
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where} contains half a character (a lone surrogate); save it as UTF-8") from None
    return text


def check_text_column(texts: Sequence[object], where: str, when: str = "") -> list[str]:
    """Return all texts of a split if each passes `check_text`. The error counts empty texts, to show their extent."""
    if empty_rows := [row for row, text in enumerate(texts) if is_empty(text)]:
        raise empty_rows_error(where, "text", empty_rows, when)
    return [check_text(text, f"{where}: text in row {row}", when) for row, text in enumerate(texts, start=1)]


def is_empty(value: object) -> bool:
    """Whether a text or label is null, NaN or blank."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or isinstance(value, float) and value != value


def empty_rows_error(where: str, column: str, rows: Sequence[int], when: str = "") -> DataError:
    """Return the error for rows, counted from 0, without a text or label."""
    count = f"{len(rows)} {column}s are" if len(rows) > 1 else f"1 {column} is"
    return DataError(
        f"{where}: {count} empty{when or ' or null'}, first in row {rows[0] + 1}; fill or remove such rows"
    )
