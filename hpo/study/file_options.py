"""Types of the study-file keys that say how the characters and fields of a data file are separated."""

from __future__ import annotations

import codecs
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

Quoting = Literal["csv", "none"]


def check_separator(separator: str) -> str:
    r"""Return the separator; the two characters `\t`, as they are typed in a shell, are a tab.

    Raises ValueError unless it is one character that can separate fields.
    """
    separator = "\t" if separator == "\\t" else separator
    if len(separator) != 1 or separator in '"\r\n':
        raise ValueError('must be one character, such as ";" or "\\t"')
    return separator


def check_encoding(encoding: str) -> str:
    """Return the name of an encoding. Raises ValueError if Python does not know it, or if it is not one of texts."""
    try:
        codecs.lookup(encoding)
        "".encode(encoding)  # base64, rot13 and others are codecs too, but do not decode bytes to text
    except (LookupError, ValueError):
        raise ValueError('must be the name of an encoding, such as "utf-8", "cp1252" or "utf-16"') from None
    return encoding


def _name_position(value: Any) -> Any:
    """Return a whole number as text: without a header, columns are named by their position."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Separator = Annotated[str, AfterValidator(check_separator)]
Encoding = Annotated[str, AfterValidator(check_encoding)]
ColumnName = Annotated[str, BeforeValidator(_name_position)]
