"""Atomic folders and files: complete or absent, with concurrent writers, and without leftovers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpo import atomic
from hpo.atomic import atomic_file, atomic_folder, exclusive_lock, folder_lock, scratch_folder, sweep_leftovers

WRITER = """
import sys, time
from pathlib import Path
from hpo.atomic import atomic_file, atomic_folder
folder, pause = Path(sys.argv[1]), float(sys.argv[2])
print("ready", flush=True)
while True:
    with atomic_folder(folder / "model") as new:
        for name in ("a", "b"):
            (new / name).write_text(name)
            print("writing", flush=True)
            time.sleep(pause)
    with atomic_file(folder / "report") as new:
        new.write_text("a")
        time.sleep(pause)
        with new.open("a") as file:
            file.write("b")
"""


def names_in(folder: Path) -> list[str]:
    """Every name in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def start_writer(folder: Path, pause: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """A process that writes a folder and a file again and again until it is killed."""
    command = [sys.executable, "-c", WRITER, str(folder), str(pause)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()
            process.stdout.close()


def test_a_new_folder_replaces_the_old_one_completely(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "model") as folder:
            (folder / text).write_text(text)
            assert not (tmp_path / "model" / text).exists()
    assert names_in(tmp_path / "model") == ["second"]
    assert names_in(tmp_path) == ["model"]


def test_an_error_changes_nothing(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "first").touch()
    with pytest.raises(OSError, match="full"), atomic_folder(tmp_path / "model") as folder:
        (folder / "second").touch()
        raise OSError("the disk is full")
    assert names_in(tmp_path / "model") == ["first"] and names_in(tmp_path) == ["model"]


def test_a_folder_that_may_not_be_replaced_is_kept(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "model", may_replace=lambda: False) as folder:
            (folder / text).touch()
    assert names_in(tmp_path / "model") == ["first"]


def test_a_file_is_replaced_only_without_an_error(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "report") as path:
        path.write_text("first")
    with pytest.raises(OSError, match="full"), atomic_file(tmp_path / "report") as path:
        path.write_text("second")
        raise OSError("the disk is full")
    assert names_in(tmp_path) == ["report"]
    assert (tmp_path / "report").read_text() == "first"


def test_links_are_followed(tmp_path: Path) -> None:
    """A model folder may be a link to a larger disk: the link stays, and what it names is replaced."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "model")
    (tmp_path / "page").symlink_to(tmp_path / "disk" / "report")
    for _ in range(2):
        with atomic_folder(tmp_path / "link") as folder:
            (folder / "weights").touch()
        with atomic_file(tmp_path / "page") as file:
            file.touch()
    assert (tmp_path / "link").is_symlink() and (tmp_path / "page").is_symlink()
    assert names_in(tmp_path / "disk") == ["model", "report"] and names_in(tmp_path) == ["disk", "link", "page"]


def test_folders_of_the_user_with_similar_names_stay(tmp_path: Path) -> None:
    certified = atomic._certified_name("0" * 16)
    similar = ["model.old", "model.new-1", "model.new-999999999", ".model.lock", f"{certified}0", certified[:-1] + "x"]
    for name in (*similar, ".hpo-0123456789abcdef-0123456789ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("years of work")
    before = names_in(tmp_path)
    for _ in range(2):
        with atomic_folder(tmp_path / "model") as folder:
            (folder / "new").touch()
        with atomic_file(tmp_path / "report") as file:
            file.touch()
    sweep_leftovers(tmp_path)
    assert names_in(tmp_path) == sorted([*before, "model", "report"])
    assert all((tmp_path / name / "thesis.tex").read_text() == "years of work" for name in before)


def test_folder_of_a_process_that_was_killed_while_replacing_it_is_restored(tmp_path: Path) -> None:
    leftover = tmp_path / atomic._certified_name("0" * 16)
    (leftover / "old" / "model").mkdir(parents=True)
    (leftover / "old" / "model" / "first").touch()
    (leftover / "new" / "model").mkdir(parents=True)
    with atomic_folder(tmp_path / "model", may_replace=lambda: False) as folder:
        (folder / "second").touch()
    assert names_in(tmp_path / "model") == ["first"] and names_in(tmp_path) == ["model"]


@pytest.mark.parametrize("leftover", ["", "owner", "new"], ids=["empty", "owner file only", "without owner file"])
def test_a_folder_that_was_left_at_its_creation_is_swept(leftover: str, tmp_path: Path) -> None:
    folder = tmp_path / atomic._certified_name("1" * 16)
    folder.mkdir()
    if leftover:
        (folder / leftover).touch()
    sweep_leftovers(tmp_path)
    assert names_in(tmp_path) == []


def test_killed_writers_leave_a_complete_target_and_nothing_else(tmp_path: Path) -> None:
    """Twelve SIGKILLs at random instants. What is left is complete at once, and clean after the next start."""
    draw = random.Random(0)
    lefts = 0
    for _ in range(12):
        with start_writer(tmp_path, pause=draw.choice([0.0, 0.002])) as process:
            time.sleep(draw.uniform(0.0, 0.03))
            process.send_signal(signal.SIGKILL)
            process.wait()
        lefts += any(name.startswith(".hpo-") for name in names_in(tmp_path))
        sweep_leftovers(tmp_path)
        assert set(names_in(tmp_path)) <= {"model", "report"}
        assert not (tmp_path / "model").exists() or names_in(tmp_path / "model") == ["a", "b"]
        assert not (tmp_path / "report").exists() or (tmp_path / "report").read_text() == "ab"
    assert lefts >= 3, "the kills have to interrupt writes"
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "c").touch()
    assert names_in(tmp_path / "model") == ["c"]


def test_files_of_a_living_writer_survive_the_sweep(tmp_path: Path) -> None:
    with start_writer(tmp_path, pause=0.2) as process:
        assert process.stdout
        for _ in range(3):
            assert process.stdout.readline() == "writing\n"
            temporary = [name for name in names_in(tmp_path) if name.startswith(".hpo-")]
            sweep_leftovers(tmp_path)
            with atomic_file(tmp_path / "other") as file:
                file.touch()
            assert temporary and set(temporary) <= set(names_in(tmp_path))
        assert names_in(tmp_path / "model") == ["a", "b"]


def test_writers_of_the_same_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    with start_writer(tmp_path) as first, start_writer(tmp_path) as second:
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            with atomic_folder(tmp_path / "model") as folder:
                (folder / "a").touch()
                (folder / "b").touch()
            with folder_lock(tmp_path / "model"):
                assert names_in(tmp_path / "model") == ["a", "b"]
        assert first.poll() is None and second.poll() is None
    sweep_leftovers(tmp_path)
    assert set(names_in(tmp_path)) <= {"model", "report"}


def test_a_lock_is_exclusive_and_leaves_no_file(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path, "final runs"):
        with exclusive_lock(tmp_path, "something else"):
            pass
        with pytest.raises(BlockingIOError), exclusive_lock(tmp_path, "final runs", timeout=0):
            pass
        sweep_leftovers(tmp_path)
        assert len(names_in(tmp_path)) == 1
    assert names_in(tmp_path) == []
    with exclusive_lock(tmp_path, "final runs", timeout=0):
        pass


def test_scratch_folders_are_removed_also_those_of_killed_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "import time; from hpo.atomic import scratch_folder\n"
    code += "with scratch_folder() as folder: (folder / 'text').touch(); print('ready', flush=True); time.sleep(60)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        with scratch_folder():
            assert len(names_in(tmp_path)) == 2
        process.kill()
    assert len(names_in(tmp_path)) == 1
    with scratch_folder() as folder:
        assert names_in(tmp_path) == [folder.parent.name]
    assert names_in(tmp_path) == []
