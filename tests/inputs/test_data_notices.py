"""Notices about contradictory labels and small classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.search.preflight import load_study_data
from hpo.study.spec import load_study
from tests.data.test_splits import GOOD, Rows, read, write


def find_contradictions(folder: Path, train: Rows, **spec: object) -> list[str]:
    data = read(folder, train=write(folder / "train.csv", train), **spec)
    return [notice for notice in data.notices if "more than one label" in notice]


def test_texts_with_two_labels_are_counted_before_rows_are_split_off(tmp_path: Path) -> None:
    twice: Rows = [(text, 1 - label) for text, label in GOOD[:3]]
    rows = [*GOOD, *twice, GOOD[0], GOOD[20]]
    expected = ["train: 3 texts have more than one label (7 rows); no model can predict all of them"]
    assert find_contradictions(tmp_path, rows) == expected
    assert find_contradictions(tmp_path, rows, validation=0.5, rows={"train": 10}) == expected
    assert find_contradictions(tmp_path, [*GOOD, GOOD[0]]) == []


def test_contradictions_of_cleaned_texts_are_found_in_validation_but_not_looked_for_in_test(tmp_path: Path) -> None:
    held_out = write(tmp_path / "held.csv", [("Fine", 0), ("fine", 1), ("bad", 0)])
    contradictions = find_contradictions(tmp_path, GOOD, validation=held_out, test=held_out, clean=["lowercase"])
    assert contradictions == ["validation: 1 text has more than one label (2 rows); no model can predict all of them"]


@pytest.mark.parametrize(
    ("objective", "rare", "is_hidden"),
    [("accuracy", 20, True), ("accuracy", 45, True), ("accuracy", 60, False), ("f1_macro", 20, False)],
)
def test_small_class_that_accuracy_hides_is_told(small: Path, objective: str, rare: int, is_hidden: bool) -> None:
    rows = [(f"text {row}", "rare" if row < rare else "usual") for row in range(500)]
    file = write(small.parent / "train.csv", rows)
    study = small.read_text().replace('source = "builtin:reviews"', f'train = "{file}"')
    study = study.replace("rows = { train = 96, validation = 32, test = 32 }\nvalidation = 32", "validation = 0.2")
    small.write_text(study)
    notices = load_study_data(load_study(small, (f"objective={objective}",))).notices
    hidden = [notice for notice in notices if "accuracy hides" in notice]
    assert len(hidden) == is_hidden
    if rare == 20 and is_hidden:
        assert hidden[0].startswith(
            "accuracy hides class 'rare' (16 of 400 train rows, 4.0%): always answering 'usual' scores 0.960; "
        )


def test_even_classes_are_not_rare_however_many(small: Path) -> None:
    rows = [(f"text {row}", f"class {row % 25}") for row in range(500)]
    write(small.parent / "train.csv", rows)
    study = small.read_text().replace('source = "builtin:reviews"', 'train = "train.csv"')
    small.write_text(study.replace("rows = { train = 96, validation = 32, test = 32 }\nvalidation = 32", ""))
    assert load_study_data(load_study(small)).notices == ()
