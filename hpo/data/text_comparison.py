"""Compare texts as a reader would: letter case, white space and punctuation make no difference."""

from __future__ import annotations

import hashlib
import re
from string import punctuation
from unicodedata import category, normalize

_ASCII_IGNORED = re.compile(r"[^a-z0-9]+")


class _IgnoredCharacters(dict[int, str | None]):
    """A table for str.translate that removes what is ignored, filled with characters as they occur.

    Letters, digits, combining marks (without them, words of Hindi would become equal) and symbols are kept: an emoji
    can be all that tells two texts apart.
    """

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        is_ignored = character in punctuation or category(character)[0] in "PZC"
        self[code] = None if is_ignored else character
        return self[code]


_IGNORED = _IgnoredCharacters()


def normalize_text(text: str) -> str:
    """Return a text for comparison: compatible characters unified, case folded, without white space and punctuation.

    Both are removed, not replaced by blanks, because tokenized copies differ in them: `don't .` and `do n't.` are equal
    so. Of a text that consists of nothing else, such as `?!`, the marks remain: it is not equal to every other one.
    """
    if text.isascii():
        normalized = _ASCII_IGNORED.sub("", text.lower())
    else:
        # Folding can undo the normalization: both have to be repeated until nothing changes, which is after two rounds.
        folded = normalize("NFKC", normalize("NFKC", text).casefold())
        normalized = folded.translate(_IGNORED)
    return normalized or "".join(normalize("NFKC", text).split())


def comparison_key(text: str) -> bytes:
    """Return 16 bytes that texts have in common if they are equal after normalization."""
    return hashlib.blake2b(normalize_text(text).encode(), digest_size=16).digest()


def hash_raw_text(text: str) -> int:
    """Return 64 bits that recognize a row of the test split in any study: of its text before cleaning.

    They are stored, so they must be the same in every version of hpo.
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
