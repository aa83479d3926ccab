"""What word-counting baselines count in the texts of a study: words, or character n-grams if words cannot be told."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from statistics import mean
from typing import Any

from hpo.errors import DataError

# scikit-learn's own pattern drops words of one letter: "I", "a", and the grades of "8/10". Keeping them gains 0.2
# points for tfidf-logreg-tuned and 0.8 for nb-svm, on a held-out fifth of IMDb's train split.
WORD_PATTERN = r"\w+"

# Scripts that put no blank between two words: Han, kana, Thai, Lao, Khmer, Myanmar, and some that few texts are in.
# Hangul is not among them: Korean has blanks.
_UNSPACED = re.compile(
    "[\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"  # Han and kana
    "\u0e00-\u0eff\u1780-\u17ff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai, Lao, Khmer, Myanmar
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf\ua980-\ua9df\u1b00-\u1b7f]"  # Tai Le to Tai Viet, Javanese, Balinese
)
_LETTER = re.compile(r"[^\W\d_]")
_JOINERS = "\u200c\u200d"  # zero-width characters within words of Indian scripts and Persian

SAMPLE, SAMPLE_LENGTH = 1_000, 1_000  # texts, and characters of each, that the choice is made on
MIN_UNSPACED = 0.1  # share of letters; character n-grams read the words of other scripts nearly as well as words do
MIN_MARKED = 0.01  # share of letters with a combining mark
MIN_WORDS = 0.5  # share of characters
MAX_WORDLESS = 0.1  # share of texts without any word
MAX_WORD = 20  # mean length of a word; Finnish has 8 letters, and a text without blanks is a single word
# Of SST-2, TREC and IMDb with their blanks removed, five characters lose 0 to 2 points against words with blanks, three
# lose 3 to 5. Of the same words written with one sign per syllable, two characters would do as well as five.
NGRAM_RANGE = (1, 5)


@dataclass(frozen=True)
class TextUnits:
    """What is counted: parameters of a scikit-learn vectorizer, and a description if they are not its own."""

    parameters: dict[str, Any] = field(default_factory=dict)
    description: str | None = None


def choose_units(texts: Sequence[str], token_pattern: str) -> TextUnits:
    """Choose the units to count, given the texts to learn from and the pattern that the words of a baseline match.

    These are the baseline's own words, unless the texts have no blanks between words, words are split at combining
    marks, or the pattern leaves out most of a text. No label is used.

    Raises:
        DataError: All texts are blank.
    """
    # Not every n-th text: rows of two languages may alternate.
    sampled = Random(0).sample(texts, SAMPLE) if len(texts) > SAMPLE else texts
    sample = [text.strip()[:SAMPLE_LENGTH] for text in sampled if text.strip()]
    if not sample:
        raise DataError(f"the {len(texts)} training texts are blank; check what data.clean leaves of them")
    if (share := mean(map(_unspaced_share, sample))) >= MIN_UNSPACED:
        return _character_ngrams(f"{share:.0%} of the letters are of scripts that have no blanks between words")
    pattern, description = token_pattern, None
    if mean(map(_marked_share, sample)) >= MIN_MARKED:
        pattern = _marked_word_pattern()
        description = "words with their combining marks, at which scikit-learn's pattern would split them"
    elif gap := _describe_gap(sample, pattern):
        pattern, description = WORD_PATTERN, f"words of one letter too, because without them {gap}"
    if gap := _describe_gap(sample, pattern):
        return _character_ngrams(gap)
    if (length := mean(_word_length(text, pattern) for text in sample)) > MAX_WORD:
        return _character_ngrams(f"words are {length:.0f} characters long on average")
    return TextUnits() if description is None else TextUnits({"token_pattern": pattern}, description)


def _character_ngrams(reason: str) -> TextUnits:
    # Not "char_wb", whose n-grams end at blanks: it loses up to 6 points on texts that have some.
    parameters = {"analyzer": "char", "ngram_range": NGRAM_RANGE, "token_pattern": None}
    first, last = NGRAM_RANGE
    return TextUnits(parameters, f"n-grams of {first} to {last} characters instead of words, because {reason}")


def _describe_gap(texts: Sequence[str], pattern: str) -> str:
    """Say what the words that match a pattern leave out, if it is so much that they are no fair baseline."""
    words_of_texts = [re.findall(pattern, text) for text in texts]
    if (wordless := mean(not words for words in words_of_texts)) > MAX_WORDLESS:
        return f"{wordless:.0%} of the texts hold no words"
    shares = [
        len("".join(words)) / len("".join(text.split())) for text, words in zip(texts, words_of_texts, strict=True)
    ]
    return f"words have only {share:.0%} of the characters" if (share := mean(shares)) < MIN_WORDS else ""


def _unspaced_share(text: str) -> float:
    if text.isascii():
        return 0.0
    unspaced = len(_UNSPACED.findall(text))  # with marks, which are no letters
    others = len(_LETTER.findall(_UNSPACED.sub("", text)))
    return unspaced / max(unspaced + others, 1)


def _marked_share(text: str) -> float:
    if text.isascii():
        return 0.0
    marked = len(re.findall(rf"[^\W\d_][{_combining_marks()}]", text))
    return marked / max(len(_LETTER.findall(text)), 1)


def _word_length(text: str, pattern: str) -> float:
    words = re.findall(pattern, text)
    return len("".join(words)) / len(words) if words else 0.0


def _marked_word_pattern() -> str:
    return rf"\w[\w{_combining_marks()}{_JOINERS}]*"


@cache
def _combining_marks() -> str:
    r"""Return all combining marks, as for a character class: `re` has no class for them, and \w leaves them out."""
    characters = map(chr, range(0x300, 0x1F000))  # the few marks above are not part of words
    return "".join(character for character in characters if unicodedata.category(character) in ("Mn", "Mc"))
