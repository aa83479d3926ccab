"""Atomic folders and files: complete or absent, with concurrent writers, and without leftovers."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.atomic import atomic_file, atomic_folder


def test_a_new_folder_replaces_the_old_one_completely(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "model") as folder:
            (folder / text).write_text(text)
            assert not (tmp_path / "model" / text).exists()
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["model"]


def test_an_error_changes_nothing(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "first").touch()
    with pytest.raises(OSError, match="full"), atomic_folder(tmp_path / "model") as folder:
        (folder / "second").touch()
        raise OSError("the disk is full")
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["first"]
    assert not list(tmp_path.glob("*.new-*"))


def test_a_folder_that_may_not_be_replaced_is_kept(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "model", may_replace=lambda: False) as folder:
            (folder / text).touch()
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["first"]


def test_leftovers_of_killed_processes_are_removed_or_restored(tmp_path: Path) -> None:
    """Killed while writing (the folder of a process that is gone), or between the two renames (only the old one)."""
    (tmp_path / "model.new-999999999").mkdir()
    (tmp_path / "model.old").mkdir()
    (tmp_path / "model.old" / "first").touch()
    with atomic_folder(tmp_path / "model", may_replace=lambda: False) as folder:
        (folder / "second").touch()
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["first"]
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["model"]


def test_a_file_is_replaced_only_without_an_error(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "report") as path:
        path.write_text("first")
    with pytest.raises(OSError, match="full"), atomic_file(tmp_path / "report") as path:
        path.write_text("second")
        raise OSError("the disk is full")
    assert [file.name for file in tmp_path.iterdir()] == ["report"]
    assert (tmp_path / "report").read_text() == "first"
