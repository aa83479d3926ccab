"""Each odd file of ../shared/odd that concerns reading gives what its table says is right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hpo.data.readers import read_texts
from hpo.data.splits import TextData
from tests.data.test_splits import read, read_error


@pytest.fixture
def odd(shared: Path) -> Path:
    return shared / "odd"


def count_rows(data: TextData) -> dict[str, int]:
    """The number of rows of each class, over all splits."""
    return dict(Counter(data.label_names[label] for split in data.splits().values() for label in split.labels))


@pytest.mark.parametrize(
    ("spec", "classes"),
    [
        ({"train": "quotes.tsv"}, {"0": 20, "1": 20}),
        ({"train": "label_words.csv"}, dict.fromkeys(["007", "7", "2e2", "200", "5.0", "false"], 8)),
        ({"train": "label_blanks.csv"}, {"bad": 20, "good": 20}),
        ({"train": "label_line_break.csv"}, {"needs\nwork": 20, "fine\tas is": 20}),
        ({"train": "columns.json"}, {"0": 20, "1": 20}),
        ({"train": "nested.json"}, {"0": 20, "1": 20}),
        ({"train": "folder"}, {"down": 20, "up": 20}),
        ({"source": "folder"}, {"down": 20, "up": 20}),
        ({"source": "saved_to_disk"}, {"minus": 30, "plus": 30}),
        ({"train": "saved_to_disk"}, {"minus": 30, "plus": 30}),
        ({"train": "class_order/train.parquet", "test": "class_order/test.parquet"}, {"minus": 45, "plus": 45}),
        ({"train": "formulas.csv"}, {"0": 20, "1": 20}),
        ({"train": "no_blanks.csv"}, {"0": 100, "1": 100}),
        ({"train": "emoji.csv"}, {"0": 40, "1": 40}),
        ({"train": "rare_class.csv"}, {"rare": 20, "usual": 480}),
        (
            {
                "train": "semicolon.csv",
                "separator": ";",
                "encoding": "cp1252",
                "text": "Kommentar",
                "label": "Bewertung",
            },
            {"gut": 20, "schlecht": 20},
        ),
        ({"train": "headerless.csv", "header": False, "text": "2", "label": "1"}, {"negative": 20, "positive": 20}),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) and "train" in value else "",
)
def test_classes_and_their_rows(odd: Path, spec: dict[str, Any], classes: dict[str, int]) -> None:
    assert count_rows(read(odd, **spec)) == classes


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"train": "semicolon.csv"}, 'seems to need data.separator = ";" and data.encoding = "cp1252"'),
        ({"train": "headerless.csv"}, "the header seems to be missing (line 1 is 'negative', "),
        (
            {"train": "several_labels.parquet", "label": "labels"},
            "label ['battery'] in row 1 is a list; several labels",
        ),
        (
            {"train": "several_labels_joined.csv", "label": "labels"},
            "label 'noise|price|shipping' in row 2 joins labels",
        ),
        ({"train": "several_label_columns.csv"}, "column 'label' (data.label) is unknown"),
        ({"train": "pairs.csv", "label": "same"}, "column 'text' (data.text) is unknown"),
        ({"train": "shop_export.csv"}, "column 'text' (data.text) is unknown"),
    ],
)
def test_refused_in_one_line(odd: Path, spec: dict[str, Any], message: str) -> None:
    assert message in read_error(odd, **spec)


@pytest.mark.parametrize(
    ("file", "notice"),
    [
        ("label_case.csv", "train: classes differ only by case: 'BAD' (7 rows), 'Bad' (5 rows), 'bad' (8 rows), "),
        ("contradictions.csv", "train: 3 texts have more than one label (6 rows)"),
    ],
)
def test_told_in_a_notice(odd: Path, file: str, notice: str) -> None:
    assert any(text.startswith(notice) for text in read(odd, train=file).notices)


def test_marks_of_quotes_tsv_stay_as_they_are(odd: Path) -> None:
    lines = (odd / "quotes.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert list(read_texts(odd / "quotes.tsv")) == [line.split("\t")[0] for line in lines] and len(lines) == 40


def test_bag_of_words_solves_the_test_split_of_class_order(odd: Path) -> None:
    """The numbers of its classes are swapped: matched by number, the score would be 0."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    data = read(odd, source="class_order")
    assert data.test is not None
    texts, labels = data.train.texts + data.validation.texts, data.train.labels + data.validation.labels
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, labels)
    assert model.score(data.test.texts, data.test.labels) == 1.0
