"""Compare texts as a reader would: letter case, white space and punctuation make no difference."""

from __future__ import annotations

import hashlib
from functools import cache
from string import ascii_letters, digits, punctuation
from unicodedata import category, normalize

_ASCII_KEPT = (ascii_letters + digits).encode()
_ASCII_IGNORED = bytes(set(range(128)) - set(_ASCII_KEPT))
_ASCII_LOWER = bytes(range(256)).lower()


def normalize_text(text: str) -> str:
    """Return a text for comparison: compatible characters unified, case folded, without white space and punctuation.

    Both are removed, not replaced by blanks, because tokenized copies differ in them: `don't .` and `do n't.` are equal
    so. Of a text that consists of nothing else, such as `?!`, the marks remain: it is not equal to every other one.
    """
    if text.isascii():
        # Most texts are, and bytes take a twentieth of the time of a regular expression.
        normalized = text.encode().translate(_ASCII_LOWER, _ASCII_IGNORED).decode()
    else:
        # Folding can undo the normalization: both have to be repeated until nothing changes, which is after two rounds.
        normalized = normalize("NFKC", normalize("NFKC", text).casefold())
        for character in filter(_is_ignored, set(normalized)):
            normalized = normalized.replace(character, "")
    return normalized or "".join(normalize("NFKC", text).split())


@cache
def _is_ignored(character: str) -> bool:
    """Whether a character is white space, punctuation or a control character.

    Letters, digits, combining marks (without them, words of Hindi would become equal) and symbols are kept: an emoji
    can be all that tells two texts apart.
    """
    return character in punctuation or category(character)[0] in "PZC"


def comparison_key(text: str) -> bytes:
    """Return 16 bytes that texts have in common if they are equal after normalization."""
    return hashlib.blake2b(normalize_text(text).encode(), digest_size=16).digest()


def hash_raw_text(text: str) -> int:
    """Return 64 bits that recognize a row of the test split in any study: of its text before cleaning.

    They are stored, so they must be the same in every version of hpo.
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
