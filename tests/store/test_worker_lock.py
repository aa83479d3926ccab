"""Lock files of workers: who is alive, who is dead, and what cannot be known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hpo.store.worker_lock import (
    WorkerProgress,
    hold_worker_lock,
    is_alive,
    read_progress,
    sweep_worker_locks,
)

KILLED_WORKER = """
import os, signal, sys
from pathlib import Path
from hpo.store.worker_lock import WorkerProgress, hold_worker_lock
with hold_worker_lock(Path(sys.argv[1])) as lock:
    lock.write(WorkerProgress(trial=3, step=7, steps=20, seconds=1.5, position=2))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_worker_is_alive_while_it_holds_its_lock(tmp_path: Path) -> None:
    with hold_worker_lock(tmp_path) as lock, hold_worker_lock(tmp_path) as other:
        assert lock.identity.id != other.identity.id and lock.identity.pid == os.getpid()
        assert is_alive(lock.identity, tmp_path) is True
        sweep_worker_locks(tmp_path)
        assert lock.path.exists()
        with hold_worker_lock(tmp_path / "elsewhere"):  # two containers with one host name and kernel
            assert is_alive(lock.identity, tmp_path / "elsewhere") is None
        assert is_alive(replace(lock.identity, boot="another kernel"), tmp_path) is None
        assert is_alive(replace(lock.identity, id="../../etc/passwd"), tmp_path) is None
    assert not (tmp_path / "workers").exists()


def test_killed_worker_is_dead_at_once_and_its_file_says_where_it_was(tmp_path: Path) -> None:
    with hold_worker_lock(tmp_path) as lock:
        process = subprocess.run([sys.executable, "-c", KILLED_WORKER, str(tmp_path)], check=False)
        assert process.returncode == -signal.SIGKILL
        (left,) = set((tmp_path / "workers").iterdir()) - {lock.path}
        dead = replace(lock.identity, id=left.name)
        assert is_alive(dead, tmp_path) is False
        assert read_progress(dead, tmp_path) == WorkerProgress(trial=3, step=7, steps=20, seconds=1.5, position=2)
        sweep_worker_locks(tmp_path)
        assert list((tmp_path / "workers").iterdir()) == [lock.path]
        assert is_alive(dead, tmp_path) is False and read_progress(dead, tmp_path) is None


def test_worker_that_leaves_its_trial_behind_is_dead_at_once_and_the_trial_not_the_cause(tmp_path: Path) -> None:
    with hold_worker_lock(tmp_path) as lock:
        lock.has_trial = True
    assert is_alive(lock.identity, tmp_path) is False
    assert read_progress(lock.identity, tmp_path) == WorkerProgress(is_stopping=True)
    sweep_worker_locks(tmp_path)
    assert not (tmp_path / "workers").exists()


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    child_of_killed = KILLED_WORKER.replace(
        "    lock.write", "    os.fork() or (print(flush=True), input())\n    lock.write"
    )
    with hold_worker_lock(tmp_path) as lock:
        command = [sys.executable, "-c", child_of_killed, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            process.stdout.readline()
            assert process.wait() == -signal.SIGKILL
            (left,) = set((tmp_path / "workers").iterdir()) - {lock.path}
            assert is_alive(replace(lock.identity, id=left.name), tmp_path) is False
            process.communicate("\n")


def test_file_system_without_locks_leaves_it_to_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(handle: int, operation: int) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with hold_worker_lock(tmp_path) as lock:
        monkeypatch.undo()
        assert is_alive(lock.identity, tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"step": 3, "unknown": 1}'])
def test_damaged_progress_is_none_or_what_is_readable(tmp_path: Path, content: bytes) -> None:
    with hold_worker_lock(tmp_path) as lock:
        lock.path.write_bytes(content)
        progress = read_progress(lock.identity, tmp_path)
    assert progress == (WorkerProgress(step=3) if b"step" in content else None)
