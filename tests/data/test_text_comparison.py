"""Which texts are equal for the comparison of splits."""

from __future__ import annotations

import pytest

from hpo.data.text_comparison import comparison_key, normalize_text


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("A good film.", "a GOOD   film"),
        ("I don't know .", "i do n't know."),
        ("stra\u00dfe", "STRASSE"),
        ("caf\u00e9", "cafe\u0301"),
        ("\ufb01ne \u2014 \u201creally\u201d\u3000good", 'fine - "really" good'),
        ("zero\u200bwidth\u00a0space", "zero width space"),
        ("\u0130stanbul", "i\u0307stanbul"),
        ("?!", " ?!\n"),
    ],
)
def test_texts_that_differ_by_case_white_space_or_punctuation_are_equal(text: str, other: str) -> None:
    assert text != other and comparison_key(text) == comparison_key(other)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("good", "goods"),
        (":)", ":("),
        ("...", "?!"),
        ("fine \U0001f44d", "fine \U0001f44e"),
        ("\u0915\u093f", "\u0915\u0940"),  # Hindi: ki and kii, which differ by a combining mark only
        ("5 \u20ac", "5 \u00a3"),
        ("...", "\u3002"),
        ("1", "2"),
    ],
)
def test_texts_that_differ_otherwise_are_not_equal(text: str, other: str) -> None:
    assert comparison_key(text) != comparison_key(other)


@pytest.mark.parametrize("text", ["\u00c5ngstr\u00f6m \u1e9e \u0345\u03b1", "\u03b1\u0345\u0313", "\u01f0 \u0390"])
def test_normalizing_again_changes_nothing(text: str) -> None:
    assert normalize_text(normalize_text(text)) == normalize_text(text)
