"""CLEANERS: strip_html, lowercase, ..."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from html import unescape
from string import punctuation
from typing import Any
from unicodedata import category

from hpo.errors import unknown_name
from hpo.study.spec import NamedComponent

_MARKUP = re.compile(
    r"""<(?: !--.*?-->                                  # a comment
           | (script|style)\b[^>]*>.*?</\1\s*>         # what no reader sees
           | /?[a-z](?:"[^"]*"|'[^']*'|[^<>"'])*+>      # a tag; a quoted attribute may hold a >
           | [!?][a-z][^<>]*>                           # a doctype, an XML declaration
        )""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_APOSTROPHES = "'\u2019"
_WORD = re.compile(rf"[\w{_APOSTROPHES}]+\s*")
_OUTER_APOSTROPHE = re.compile(rf"(?<![^\W_])[{_APOSTROPHES}]|[{_APOSTROPHES}](?![^\W_])")


class _Punctuation(dict[int, str]):
    """A table for str.translate that learns each character when it meets it: Unicode has a million."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        self[code] = " " if sign in punctuation or category(sign).startswith("P") else sign
        return self[code]


# "don't" becomes "dont", not "don t": that is also how scikit-learn's stop words are spelt.
_WITHOUT_APOSTROPHES = _Punctuation({ord(sign): "" for sign in _APOSTROPHES})
_WITH_APOSTROPHES = _Punctuation({ord(sign): sign for sign in _APOSTROPHES})


def strip_html(text: str) -> str:
    """The text without tags, comments, scripts and styles, each a space, and with entities as characters.

    A pattern and no parser: html.parser reads an unclosed `<` differently from one Python to the next.
    """
    if "<" in text:
        text = _MARKUP.sub(" ", text)
    return unescape(text)


def lowercase(text: str) -> str:
    """The text in small letters."""
    return text.lower()


def strip_punctuation(text: str, keep_apostrophes: bool = False) -> str:
    """The text with a space for each punctuation mark; apostrophes go without one, or stay inside words."""
    if keep_apostrophes:
        return _OUTER_APOSTROPHE.sub(" ", text).translate(_WITH_APOSTROPHES)
    return text.translate(_WITHOUT_APOSTROPHES)


def remove_stopwords(text: str) -> str:
    """The text without scikit-learn's English stop words, in small or capital letters.

    They include "not" and "no": where opinions are classified, this step costs accuracy.
    """
    stop = _stop_words()
    return _WORD.sub(lambda word: "" if word[0].rstrip().lower() in stop else word[0], text).strip()


def collapse_spaces(text: str) -> str:
    """The text with single spaces between words and none at its ends."""
    return " ".join(text.split())


CLEANERS: dict[str, Callable[..., str]] = {
    "strip_html": strip_html,
    "lowercase": lowercase,
    "strip_punctuation": strip_punctuation,
    "remove_stopwords": remove_stopwords,
    "collapse_spaces": collapse_spaces,
}


def build_cleaner(steps: Sequence[NamedComponent]) -> Callable[[str], str]:
    """One function that cleans a text by the steps, in their order.

    Raises ValueError for a step or an option that does not exist, or an option of the wrong type.
    """
    return partial(_clean, tuple(_step(step) for step in steps))


def _clean(steps: Iterable[Callable[[str], str]], text: str) -> str:
    for step in steps:
        text = step(text)
    return text


def _step(step: NamedComponent) -> Callable[[str], str]:
    if step.name not in CLEANERS:
        raise ValueError(f"{step.name} {unknown_name(step.name, CLEANERS)}")
    clean = CLEANERS[step.name]
    _, *takes = inspect.signature(clean).parameters.values()
    defaults: dict[str, Any] = {option.name: option.default for option in takes}
    for name, value in step.options.items():
        if name not in defaults:
            raise ValueError(
                f"{step.name}.{name} {unknown_name(name, defaults) if defaults else 'is unknown; it has no options'}"
            )
        if type(value) is not type(defaults[name]):
            raise ValueError(f"{step.name}.{name} is {value!r}; must be a {type(defaults[name]).__name__}")
    return partial(clean, **step.options)


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)
