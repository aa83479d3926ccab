"""Escape characters that would break a line or a table cell in two, or change what a terminal shows."""

from __future__ import annotations

import re

# Control characters, Unicode's line and paragraph separators, half characters, and marks that reverse the direction of
# writing. Not the other format characters: emoji and words of Indian scripts need them.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def escape_controls(text: str) -> str:
    r"""Return a text on one line: a line break as \n, a tab as \t, another control character as in JSON, \u001b.

    Class names, texts and file names may come from anybody. A backslash stays as it is, so that names that have one
    are displayed as they are.
    """
    return _CONTROLS.sub(lambda match: _SHORT_ESCAPES.get(match[0], f"\\u{ord(match[0]):04x}"), text)
