"""Write tables as CSV such that a spreadsheet does not run a text of the data as a formula.

Excel, LibreOffice and Google Sheets evaluate a cell that begins with one of a few characters, even if it is quoted:
`=HYPERLINK(...)` in a review would send the cells next to it elsewhere. A leading apostrophe turns it into text. See
https://owasp.org/www-community/attacks/CSV_Injection.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # the last four are the full-width forms
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)


def write_csv(table: pandas.DataFrame, file: Path, raw: bool = False) -> None:
    """Write a table with its heads and without its index; `raw` leaves texts that look like formulas as they are."""
    (table if raw else neutralize_table(table)).to_csv(file, index=False)


def neutralize_table(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return a table in which no text of a cell or head is a formula; columns of numbers are not touched."""
    neutral = table.copy()
    for position, dtype in enumerate(table.dtypes):
        if str(dtype) in {"object", "str", "string", "category"}:
            neutral.isetitem(position, table.iloc[:, position].astype(object).map(neutralize_cell))
    neutral.columns = [neutralize_cell(head) for head in table.columns]
    return neutral


def neutralize_cell(value: Any) -> Any:
    """Return a cell for a CSV file: a text that a spreadsheet would run as a formula gets an apostrophe in front.

    Numbers stay, also those that are stored as text, such as the label `-1`.
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
