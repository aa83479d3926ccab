"""Folders of classes, and files and folders that editors and operating systems leave in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.test_splits import GOOD, MORE, read, read_error, write

LEFTOVERS = [".ipynb_checkpoints", "__MACOSX", ".git", "$RECYCLE.BIN", "@eaDir"]


def write_classes(root: Path, *labels: str) -> None:
    """Write ten texts per class, and leftovers in and beside its folder."""
    for label in labels:
        (root / label).mkdir(parents=True)
        for row in range(10):
            (root / label / f"{row}.txt").write_text(f"{label} {row}")
        for name in ("._0.txt", ".DS_Store"):
            (root / label / name).write_bytes(b"\xff\x00 no text")
    for name in LEFTOVERS:
        (root / name).mkdir()
        (root / name / "0.txt").write_text("no text")
    (root / "Thumbs.db").write_bytes(b"\xff")


@pytest.mark.parametrize("spec", [{"source": "data"}, {"source": ".", "train": "data"}, {"train": "data"}])
def test_folder_per_class_is_the_train_split(tmp_path: Path, spec: dict[str, str]) -> None:
    write_classes(tmp_path / "data", "up", "down")
    data = read(tmp_path, **spec)
    assert data.label_names == ("down", "up") and data.rows() == {"train": 16, "validation": 4}


def test_leftovers_in_split_folders_are_skipped(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_classes(tmp_path / split, "up", "down")
    data = read(tmp_path, source=".")
    assert data.label_names == ("down", "up") and data.rows() == {"train": 16, "validation": 4, "test": 20}


def test_leftovers_are_skipped_by_globs(tmp_path: Path) -> None:
    write(tmp_path / "parts" / "a.csv", GOOD)
    for name in ("._a.csv", "__MACOSX/parts/a.csv", ".ipynb_checkpoints/a-checkpoint.csv"):
        write(tmp_path / "parts" / name, MORE)
    (tmp_path / "parts" / "Thumbs.db").touch()
    for pattern in ("parts/**/*.csv", "parts/*.csv", "parts/[a.T_]*[bv]", "parts/.*csv"):
        if pattern == "parts/.*csv":
            assert "no such file (data.train)" in read_error(tmp_path, train=pattern)
        else:
            assert len(read(tmp_path, train=pattern).train) == 32


def test_hidden_file_that_is_named_is_read(tmp_path: Path) -> None:
    write(tmp_path / ".data" / "a.csv", GOOD)
    assert len(read(tmp_path, train=".data/*.csv").train) == 32
    assert len(read(tmp_path, train=".data/a.csv").train) == 32


def test_folder_without_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for spec in ({"source": "."}, {"train": "train"}):
        assert "train: no texts; expected a folder for each label" in read_error(tmp_path, **spec)
