"""Texts that can and cannot be classified."""

from __future__ import annotations

import re

import pytest

from hpo.data.text_validation import check_text, check_text_column
from hpo.errors import DataError


def test_valid_text_is_returned_unchanged() -> None:
    assert check_text("  spaces \u2028 \U0001f600 ", "text 3") == "  spaces \u2028 \U0001f600 "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "text 3 is empty or null; fill or remove it"),
        (float("nan"), "text 3 is empty or null"),
        ("", "text 3 is empty or null"),
        (" \t", "text 3 is empty or null"),
        (b"good", "text 3 is of type bytes, b'good'; expected a string"),
        (5.0, "text 3 is of type float, 5.0; expected a string"),
        ("\ud800", "text 3 contains half a character"),
    ],
)
def test_unusable_text_is_refused(text: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_text(text, "text 3")
    with pytest.raises(DataError, match=r"^a\.csv: .*(in row 2| row 2;)"):
        check_text_column(["good", text], "a.csv")


def test_empty_texts_of_a_column_are_counted() -> None:
    message = "a.csv: 2 texts are empty or null, first in row 2; fill or remove such rows"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        check_text_column(["good", None, 5, " "], "a.csv")
    with pytest.raises(DataError, match=r"^a\.csv: 1 text is empty after cleaning, first in row 1;"):
        check_text_column(["", "good"], "a.csv", " after cleaning")
