"""Remove what may be a text of the data from sentences: from notices and from reasons of failures.

A study with `report.texts = false` shows none. A sentence of hpo quotes texts in quotation marks, and the message of
any exception may hold one, quoted or not.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from hpo.store.trial_state import ERROR

LEFT_OUT = "(the rest may quote a text, and report.texts is false)"
# A command in backticks, or a quotation mark that is no apostrophe within a word.
_QUOTATION = re.compile(r"`[^`]*`|(?<!\w)['\u2018]|[\"\u201c\u201e\u00ab\u300c]")
_CLOSING = {"\u2018": "\u2019", "\u201c": "\u201d", "\u201e": "\u201c", "\u00ab": "\u00bb", "\u300c": "\u300d"}


def redact_sentence(sentence: str, names: Collection[str] = ()) -> str:
    """Return a sentence up to its first quotation, unless it quotes one of the names, such as a label."""
    position = 0
    while match := _QUOTATION.search(sentence, position):
        position = match.end()
        if match[0].startswith("`"):
            continue
        closing = _CLOSING.get(match[0], match[0])
        name = next((name for name in names if sentence.startswith(f"{name}{closing}", position)), None)
        if name is None:
            return f"{sentence[: match.start()].rstrip(' :,;(')} {LEFT_OUT}"
        position += len(name) + len(closing)
    return sentence


def redact_reason(reason: str) -> str:
    """Return why a trial or run ended, without the message of an exception."""
    outcome, _, detail = reason.partition(": ")
    if outcome != ERROR:
        return redact_sentence(reason)
    error_type = detail.partition(":")[0]
    return f"{ERROR}: {error_type} {LEFT_OUT}" if error_type.isidentifier() else f"{ERROR} {LEFT_OUT}"
