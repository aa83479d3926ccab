"""Near-duplicates: what is found, how it is said, and that it is searched once."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from hpo.data.near_duplicates import describe_near_duplicates, find_near_duplicates
from hpo.data.splits import TextData
from hpo.search.preflight import load_study_data
from hpo.study.spec import load_study
from tests.data.test_splits import read, write

WORDS = [f"{first}{second}{third}" for first in "bdfgkl" for second in "aeiou" for third in "mnrst"]


def make_texts(count: int, words: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=words)) for _ in range(count)]


def change_words(text: str, count: int) -> str:
    words = text.split()
    for position in range(count):
        words[position * len(words) // max(1, count)] = "changed"
    return " ".join(words)


TRAIN = make_texts(300, 40, 0)


@pytest.mark.parametrize("words", [12, 40, 400])
def test_texts_that_share_most_of_their_words_are_near_duplicates(words: int) -> None:
    train = make_texts(200, words, 1)
    # A changed word in 40 leaves 95 % of the 5-grams; one in four leaves less than half.
    near = [change_words(text, max(1, words // 40)) + "ok" for text in train[:30]]
    far = [change_words(text, words // 4) for text in train[30:60]]
    assert find_near_duplicates({"train": train, "test": make_texts(50, words, 2)}) == []
    if words == 12:  # one word of twelve is too much of a short text
        near = [text[:-1] for text in train[:30]]
    (result,) = find_near_duplicates({"train": train, "test": [*far, *near]})
    assert (result.split, result.rows, result.searched, result.searched_train) == ("test", 30, 60, 200)
    position, train_position = result.example
    assert position - 30 == train_position


def test_equal_texts_are_not_counted_again() -> None:
    assert find_near_duplicates({"train": [*TRAIN, TRAIN[0].upper()], "test": [TRAIN[1], f"{TRAIN[2]} !"]}) == []


def test_texts_without_five_characters_are_no_near_duplicates_of_each_other() -> None:
    assert find_near_duplicates({"train": ["ok", "no", "?!", "yes"], "test": ["oki", "nope", "!", "y"]}) == []


def test_sample_is_bounded_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(text, row % 2) for row, text in enumerate([*TRAIN, *(f"{text} ok" for text in TRAIN)])]
    train, test = (
        write(tmp_path / "train.csv", rows),
        write(tmp_path / "test.csv", [(f"so {text}", 1) for text in TRAIN]),
    )
    data = read(tmp_path, train=train, test=test, validation=test)
    characters = sum(len(text) for split in data.splits().values() for text in split.texts)
    monkeypatch.setattr("hpo.data.near_duplicates.MAX_CHARACTERS", characters // 4)
    in_train, validation, in_test = describe_near_duplicates(data, tmp_path / "cache")
    # A row of test has two near-duplicates in train, of which a quarter is searched.
    share = re.fullmatch(
        r"test: (\d+) of 75 texts .* are near-duplicates of one of train, such as row \d+ and train row \d+, "
        "searched in a sample of 75 and 150 train rows, so there are more",
        in_test,
    )
    assert share and 20 < int(share[1]) < 50
    assert in_train.endswith(", searched in a sample of 150 rows, so there are more")


def load(folder: Path) -> TextData:
    train = write(folder / "train.csv", [(text, row % 2) for row, text in enumerate([*TRAIN, f"{TRAIN[5]} ok"])])
    test = write(folder / "test.csv", [(make_texts(1, 40, 9)[0], 0), (f"again {TRAIN[7]}", 1)])
    held_out = write(folder / "v.csv", [(text, row % 2) for row, text in enumerate(make_texts(10, 40, 8))])
    return read(folder, train=train, test=test, validation=held_out)


NOTICES = [
    "train: 2 of 301 texts (0.7%) are near-duplicates of another, such as row 6 and row 301",
    "test: 1 of 2 texts (50.0%) are near-duplicates of one of train, such as row 2 and train row 8",
]


def test_finding_names_rows_and_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load(tmp_path)
    assert describe_near_duplicates(data, tmp_path / "cache") == NOTICES
    (entry,) = (tmp_path / "cache").iterdir()
    assert not any(text in entry.read_text() for text in data.train.texts)

    def fail(*args: Any) -> None:
        raise AssertionError("searched again")

    with monkeypatch.context() as patch:
        patch.setattr("hpo.data.near_duplicates.find_near_duplicates", fail)
        assert describe_near_duplicates(data, tmp_path / "cache") == NOTICES
    for content in ("", "{", '[{"rows": 1}]', "[1]"):
        entry.write_text(content)
        assert describe_near_duplicates(data, tmp_path / "cache") == NOTICES, "a damaged entry is searched again"


def test_cache_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert describe_near_duplicates(load(tmp_path), tmp_path / "file") == NOTICES


def test_studies_have_the_notice_and_the_built_in_corpus_has_not(small: Path) -> None:
    assert load_study_data(load_study(small)).notices == ()
    load(small.parent)
    study = small.read_text().replace('source = "builtin:reviews"', 'train = "train.csv"\ntest = "test.csv"')
    small.write_text(study.replace("rows = { train = 96, validation = 32, test = 32 }\n", ""))
    notices = load_study_data(load_study(small)).notices
    assert any(notice.startswith("test: 1 of 2 texts (50.0%) are near-duplicates of") for notice in notices)


def test_near_duplicates_of_real_data(shared: Path) -> None:
    data = read(shared / "data", source="bbc")
    notices = describe_near_duplicates(data)
    (test,) = (notice for notice in notices if notice.startswith("test: "))
    assert 15 <= int(test.split()[1]) <= 30
