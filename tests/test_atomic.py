"""A folder that is written aside: whole or not there, whoever else writes it, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.atomic import atomic_folder


def test_the_new_folder_takes_the_place_of_the_old_one_whole(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "model") as folder:
            (folder / text).write_text(text)
            assert not (tmp_path / "model" / text).exists()
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["second"]
    assert [each.name for each in tmp_path.iterdir() if not each.name.startswith(".")] == ["model"]


def test_an_error_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "first").touch()
    with pytest.raises(OSError, match="full"), atomic_folder(tmp_path / "model") as folder:
        (folder / "second").touch()
        raise OSError("the disk is full")
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["first"]
    assert not list(tmp_path.glob("*.new-*"))


def test_who_may_not_replace_leaves_what_is_there(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "model", may_replace=lambda: False) as folder:
            (folder / text).touch()
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["first"]


def test_what_a_killed_process_left_is_swept_and_mended(tmp_path: Path) -> None:
    """Killed while it wrote (a folder of a process that is gone), or between the two moves (the old one only)."""
    (tmp_path / "model.new-999999999").mkdir()
    (tmp_path / "model.old").mkdir()
    (tmp_path / "model.old" / "first").touch()
    with atomic_folder(tmp_path / "model", may_replace=lambda: False) as folder:
        (folder / "second").touch()
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["first"]
    assert [each.name for each in tmp_path.iterdir() if not each.name.startswith(".")] == ["model"]
