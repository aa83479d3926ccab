"""Baselines that count words read texts without blanks, of symbols, of one-letter words, and with marks."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pandas
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from hpo.evaluation.text_baselines import TEXT_BASELINES
from hpo.evaluation.text_units import NGRAM_RANGE, WORD_PATTERN, choose_units
from hpo.results.formatting import describe_systems

OPINIONS = [["bad", "poor", "dull", "awful", "weak"], ["good", "fine", "great", "lovely", "strong"]]
THINGS = ["lamp", "tent", "chair", "table", "kettle", "bicycle", "jacket", "book", "phone", "spoon", "week", "friend"]
COUNTING = [name for name in TEXT_BASELINES if name != "majority"]
SCIKIT_LEARN_PATTERN = CountVectorizer().token_pattern
SYMBOLS = "".join(map(chr, range(0x1F600, 0x1F640)))  # emoji
SCRIPTS = {
    "Chinese": "".join(map(chr, range(0x4E00, 0x5200))),
    "Japanese": "".join(map(chr, [*range(0x3041, 0x3090), *range(0x30A1, 0x30F0), *range(0x6F22, 0x6FA0)])),
    "Thai": "".join(map(chr, [*range(0xE01, 0xE2F), *range(0xE30, 0xE3B), *range(0xE40, 0xE4F)])),
    "Lao": "".join(map(chr, [*range(0xE94, 0xEA4), *range(0xEB0, 0xEBA)])),
    "Khmer": "".join(map(chr, range(0x1780, 0x17B4))),
    "Myanmar": "".join(map(chr, range(0x1000, 0x1040))),
    "emoji": SYMBOLS,
    "DNA": "ACGT",
}


def spell(word: str, letters: str) -> str:
    """Write a word with the letters of another script: as many as make most words distinct."""
    size = 2 if len(letters) > 500 else 4 if len(letters) > 4 else 8
    code = zlib.crc32(word.encode())
    return "".join(letters[code // len(letters) ** place % len(letters)] for place in range(size))


def write_in(script: str, text: str, blank: str = "") -> str:
    return blank.join(spell(word, SCRIPTS[script]) for word in text.lower().split())


def held_out_accuracy(name: str, write: Callable[[int, str], str]) -> tuple[float, str | None]:
    """Return the accuracy of a baseline on reviews that `write` has rewritten, and its description."""
    random = Random(0)
    labels = [row // 2 % 2 for row in range(300)]  # not equal to the parity of the row
    texts = [
        write(row, " ".join(random.sample([random.choice(OPINIONS[label]), *random.sample(THINGS, 6)], 7)))
        for row, label in enumerate(labels)
    ]
    model = TEXT_BASELINES[name](0)
    details = model.fit(texts[:200], labels[:200], lambda share, description: None)
    return float((model.predict(texts[200:]).argmax(axis=1) == labels[200:]).mean()), details.get("as")


@pytest.mark.parametrize("script", SCRIPTS)
def test_texts_without_blanks_are_read_as_character_ngrams(script: str) -> None:
    accuracy, description = held_out_accuracy("nb-svm", lambda row, text: write_in(script, text))
    assert accuracy > 0.8
    assert description and "n-grams of 1 to 5 characters instead of words, because " in description


@pytest.mark.parametrize("name", COUNTING)
def test_every_counting_baseline_reads_chinese_and_the_shared_example(name: str, shared: Path) -> None:
    accuracy, description = held_out_accuracy(name, lambda row, text: write_in("Chinese", text))
    assert accuracy > 0.75 and "100% of the letters are of scripts that have no blanks" in str(description)
    table = pandas.read_csv(shared / "odd" / "no_blanks.csv")
    model = TEXT_BASELINES[name](0)
    model.fit(table["text"][:150].tolist(), table["label"][:150].tolist(), lambda share, description: None)
    predicted = model.predict(table["text"][150:].tolist()).argmax(axis=1)
    assert (predicted == table["label"][150:]).mean() > 0.9


@pytest.mark.parametrize("name", COUNTING)
def test_every_counting_baseline_reads_emoji(name: str, shared: Path) -> None:
    table = pandas.read_csv(shared / "odd" / "emoji.csv")
    model = TEXT_BASELINES[name](0)
    details = model.fit(table["text"][:60].tolist(), table["label"][:60].tolist(), lambda share, description: None)
    assert (model.predict(table["text"][60:].tolist()).argmax(axis=1) == table["label"][60:]).mean() > 0.9
    assert details["as"].endswith("because 100% of the texts hold no words")


def test_rows_of_two_languages_are_read_both() -> None:
    """Alternating rows: a choice by every second text would see one language only."""
    accuracy, description = held_out_accuracy(
        "nb-svm", lambda row, text: write_in("Chinese", text) if row % 2 else text
    )
    assert accuracy > 0.8 and "50% of the letters" in str(description)
    many = [("这本书很好" if row % 2 else "a fine book") for row in range(4_000)]
    assert choose_units(many, WORD_PATTERN).parameters["ngram_range"] == NGRAM_RANGE


@pytest.mark.parametrize("name", COUNTING)
def test_words_of_one_letter_are_kept_if_there_are_hardly_others(name: str) -> None:
    texts = ["a b c", "b c a", "x y z", "z y x"] * 5
    model = TEXT_BASELINES[name](0)
    details = model.fit(texts, [0, 0, 1, 1] * 5, lambda share, description: None)
    assert model.predict(["c a", "y"]).argmax(axis=1).tolist() == [0, 1]
    own_pattern_drops_them = name in ("tfidf-logreg", "bow-forest")
    assert ("words of one letter too" in details.get("as", "")) == own_pattern_drops_them


def words_of(text: str, pattern: str) -> list[str]:
    parameters: dict[str, Any] = {"token_pattern": pattern, **choose_units([text], pattern).parameters}
    words: list[str] = CountVectorizer(**parameters).build_analyzer()(text)
    return words


@pytest.mark.parametrize(
    "text", ["अच्छी किताब है", "மிகவும் நல்ல புத்தகம்", "বইটি খুব ভালো", "كِتَابٌ جَمِيلٌ", "e\u0301te\u0301 a\u0300 l'e\u0301cole"]
)
@pytest.mark.parametrize("pattern", [SCIKIT_LEARN_PATTERN, WORD_PATTERN])
def test_words_are_not_split_at_combining_marks(text: str, pattern: str) -> None:
    assert words_of(text, pattern) == text.replace("'", " ").split()


@pytest.mark.parametrize(
    "texts",
    [
        ["이 책은 정말 좋다", "나쁜 책 이다", "아주 재미있는 영화였다"],  # Korean has blanks
        ["Die Donaudampfschifffahrtsgesellschaft ist pleite", "Sehr schön!"],
        ["Хорошая книга", "плохой фильм"],
        ["a good film by 王家卫 is out again", "nothing new here, really nothing"] + ["plain english words"] * 8,
        ["I love it ❤️❤️ 10/10", "hate it 👎"],
        ["see https://example.org/a?b=c now", "wow!!! so good :-)"],
    ],
)
def test_texts_with_blanks_keep_the_words_of_scikit_learn(texts: list[str]) -> None:
    for pattern in (SCIKIT_LEARN_PATTERN, WORD_PATTERN):
        units = choose_units(texts, pattern)
        assert units.parameters == {} and units.description is None


@pytest.mark.parametrize("name", ["imdb", "sst2", "trec", "cr", "subj", "bbc"])
def test_english_data_keep_the_words_of_scikit_learn(name: str, shared: Path) -> None:
    table = pandas.read_parquet(shared / "data" / name / "train.parquet")
    texts = table["text" if "text" in table else "sentence"].tolist()
    assert choose_units(texts, SCIKIT_LEARN_PATTERN).parameters == choose_units(texts, WORD_PATTERN).parameters == {}


def test_systems_with_the_same_description_share_a_line() -> None:
    assert describe_systems({"a": "n-grams", "b": None, "c": "probe", "d": "n-grams"}) == ["a, d: n-grams", "c: probe"]
