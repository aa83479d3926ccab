"""Equal texts of all pairs of splits: notices, and what drop_leaks removes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.test_splits import GOOD, Rows, read, write

HELD_OUT: Rows = [("Text 0!", 0), ("text 1", 1), ("fresh", 0), ("also fresh", 1)]
TEST: Rows = [("TEXT 1", 1), ("Fresh.", 0), ("unseen", 1), ("text 2", 0), ("text 2", 0)]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    rows = {"train": GOOD, "validation": HELD_OUT, "test": TEST}
    return {split: write(tmp_path / f"{split}.csv", rows) for split, rows in rows.items()}


def test_equal_texts_of_all_pairs_of_splits_are_counted(tmp_path: Path, files: dict[str, str]) -> None:
    advice = "data.drop_leaks = true removes them from"
    kinds = "but for case, white space or punctuation"
    assert read(tmp_path, **files).notices == (
        f"validation: 2 of 4 texts also occur in train (1 exact, 1 {kinds}); {advice} train",
        f"test: 3 of 5 texts also occur in train (2 exact, 1 {kinds}); {advice} train",
        f"test: 2 of 5 texts also occur in validation (0 exact, 2 {kinds}); {advice} validation",
    )


def test_drop_leaks_removes_rows_of_test_from_validation_and_of_both_from_train(
    tmp_path: Path, files: dict[str, str]
) -> None:
    data = read(tmp_path, **files, drop_leaks=True)
    assert data.test and data.test.texts == [text for text, _ in TEST]
    assert data.validation.texts == ["Text 0!", "also fresh"]
    # "text 1" stands in no validation row that is left, but in test.
    assert data.train.texts == [text for text, _ in GOOD if text not in ("text 0", "text 1", "text 2")]
    assert data.notices == (
        "validation: drop_leaks removed 2 of 4 rows, because their texts also occur in test",
        "train: drop_leaks removed 3 of 40 rows, because their texts also occur in validation or test",
    )


@pytest.mark.parametrize(
    ("limits", "rows"),
    [
        ({"validation": 2}, {"train": 37, "validation": 2, "test": 5}),  # both rows that are no leak
        ({"train": 30}, {"train": 30, "validation": 2, "test": 5}),
    ],
)
def test_limits_are_met_after_leaks_are_dropped(
    tmp_path: Path, files: dict[str, str], limits: dict[str, Any], rows: dict[str, int]
) -> None:
    data = read(tmp_path, **files, drop_leaks=True, rows=limits)
    assert data.rows() == rows and "Text 0!" in data.validation.texts


def test_only_rows_that_test_keeps_are_leaks(tmp_path: Path, files: dict[str, str]) -> None:
    data = read(tmp_path, **files, drop_leaks=True, rows={"test": 2})
    assert data.test
    kept = {text.casefold().strip(".!") for text in data.test.texts + data.validation.texts}
    assert data.train.texts == [text for text, _ in GOOD if text not in kept]
