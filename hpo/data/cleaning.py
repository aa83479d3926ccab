"""Clean texts before they are split and tokenized: CLEANERS has one function per step of `data.clean`.

Installed packages add steps through the entry-point group `hpo.cleaners`: functions from str to str, whose further
parameters are options.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from html import unescape
from string import punctuation
from unicodedata import category

from hpo.errors import HpoError, unknown_name
from hpo.plugins import describe_package, load_entry_points
from hpo.study.spec_tables import NamedComponent

_MARKUP = re.compile(
    r"""<(?: !--.*?-->                                  # a comment
           | (script|style)\b[^>]*>.*?</\1\s*>         # content that a browser does not show
           | /?[a-z](?:"[^"]*"|'[^']*'|[^<>"'])*+>      # a tag; a quoted attribute may hold a >
           | [!?][a-z][^<>]*>                           # a doctype, an XML declaration
        )""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_APOSTROPHES = "'\u2019"
_WORD = re.compile(rf"[\w{_APOSTROPHES}]+\s*")
_OUTER_APOSTROPHE = re.compile(rf"(?<![^\W_])[{_APOSTROPHES}]|[{_APOSTROPHES}](?![^\W_])")


class _PunctuationTable(dict[int, str]):
    """A table for str.translate that is filled with characters as they occur: Unicode has a million."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = " " if character in punctuation or category(character).startswith("P") else character
        return self[code]


# "don't" becomes "dont", not "don t": scikit-learn's stop words are spelled that way too.
_WITHOUT_APOSTROPHES = _PunctuationTable({ord(apostrophe): "" for apostrophe in _APOSTROPHES})
_WITH_APOSTROPHES = _PunctuationTable({ord(apostrophe): apostrophe for apostrophe in _APOSTROPHES})


def strip_html(text: str) -> str:
    """Replace each tag, comment, script and style by a space, and entities by their characters."""
    # A regular expression instead of html.parser, which treats an unclosed `<` differently from one Python version to
    # the next.
    if "<" in text:
        text = _MARKUP.sub(" ", text)
    return unescape(text)


def lowercase(text: str) -> str:
    """Convert a text to lower case."""
    return text.lower()


def strip_punctuation(text: str, keep_apostrophes: bool = False) -> str:
    """Replace each punctuation mark by a space. Apostrophes are removed, or kept inside words."""
    if keep_apostrophes:
        return _OUTER_APOSTROPHE.sub(" ", text).translate(_WITH_APOSTROPHES)
    return text.translate(_WITHOUT_APOSTROPHES)


def remove_stopwords(text: str) -> str:
    """Remove scikit-learn's English stop words, in lower or upper case.

    They include "not" and "no", so this step costs accuracy if opinions are classified.
    """
    stop_words = _load_stop_words()
    return _WORD.sub(lambda word: "" if word[0].rstrip().lower() in stop_words else word[0], text).strip()


def collapse_spaces(text: str) -> str:
    """Replace white space by single spaces, and remove it at both ends."""
    return " ".join(text.split())


CLEANERS: dict[str, Callable[..., str]] = {
    "strip_html": strip_html,
    "lowercase": lowercase,
    "strip_punctuation": strip_punctuation,
    "remove_stopwords": remove_stopwords,
    "collapse_spaces": collapse_spaces,
}


def build_cleaner(steps: Sequence[NamedComponent]) -> Callable[[str], str]:
    """Return one function that applies the steps to a text, in their order.

    Raises ValueError for an unknown step or option and for an option of the wrong type, HpoError for a broken plug-in.
    """
    # partial objects instead of closures: worker processes receive the cleaner pickled.
    return partial(_apply_steps, tuple(_build_step(step) for step in steps))


def _apply_steps(steps: Iterable[Callable[[str], str]], text: str) -> str:
    for step in steps:
        text = step(text)
    return text


def _build_step(step: NamedComponent) -> Callable[[str], str]:
    clean = CLEANERS[step.name] if step.name in CLEANERS else _load_plugin(step.name)
    _, *options = inspect.signature(clean).parameters.values()
    defaults = {option.name: option.default for option in options}
    for name, value in step.options.items():
        if name not in defaults:
            raise ValueError(
                f"{step.name}.{name} {unknown_name(name, defaults) if defaults else 'is unknown; it has no options'}"
            )
        if type(value) is not type(defaults[name]):
            raise ValueError(f"{step.name}.{name} is {value!r}; must be of type {type(defaults[name]).__name__}")
    return partial(clean, **step.options)


def _load_plugin(name: str) -> Callable[..., str]:
    plugins = load_entry_points("hpo.cleaners")
    if name not in plugins:
        raise ValueError(f"{name} {unknown_name(name, [*CLEANERS, *plugins])}")
    plugin = plugins[name]
    clean: Callable[..., str] = plugin.load()
    where = f"{describe_package(plugin)}: hpo.cleaners entry point {name!r} ({plugin.value})"
    if not callable(clean):
        raise HpoError(f"{where} is a {type(clean).__name__}; expected a function from str to str")
    signature = inspect.signature(clean)
    parameters = list(signature.parameters.values())
    if not parameters or any(option.default is option.empty for option in parameters[1:]):
        raise HpoError(f"{where} takes {signature}; expected a text, and options that have defaults")
    return clean


@cache
def _load_stop_words() -> frozenset[str]:
    # Imported here: scikit-learn takes a second to import, and few studies remove stop words.
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)
