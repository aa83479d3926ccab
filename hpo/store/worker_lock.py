"""The lock file of a worker: whether it is alive, which the kernel knows, and how far its trial has come.

A worker holds an exclusive lock on `<study folder>/workers/<id>` for its life. The kernel releases it when the process
ends, however that happens, so nobody has to wait for heartbeats on one machine. Process ids and host names would not
do: containers share them. The file also says how far the running trial is, which a killed process cannot tell.
"""

from __future__ import annotations

import json
import os
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from hpo.store.attributes import WorkerIdentity, read_part

try:
    import fcntl
except ImportError:  # Windows: heartbeats decide
    fcntl = None  # type: ignore[assignment]

FOLDER = "workers"  # in the study's folder
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_WORKER_ID = re.compile(r"[0-9a-f]{32}")
_LENGTH = 512  # bytes of the file, so that an update is one write
_START_TOLERANCE = 60.0  # seconds; on Linux the start of a process is computed from the clock, which may be set
_handles: set[int] = set()  # of this process


@dataclass(frozen=True)
class WorkerProgress:
    """What a worker was doing, as its lock file says."""

    trial: int | None = None  # its number
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    position: int = 0
    is_stopping: bool = False  # a signal has asked it to stop


class WorkerLock:
    """The lock file that this process holds."""

    def __init__(self, path: Path, handle: int, identity: WorkerIdentity) -> None:
        self.path = path
        self.identity = identity
        self.progress = WorkerProgress()
        self.has_trial = False  # its worker runs a trial; if it ends nevertheless, others must see that it is dead
        self._handle = handle

    def write(self, progress: WorkerProgress) -> None:
        """Write what the worker is doing. A disk without room is no reason to stop."""
        self.progress = progress
        with suppress(OSError):
            os.pwrite(self._handle, json.dumps(asdict(progress)).encode().ljust(_LENGTH), 0)

    def note_stop_request(self) -> None:
        """Write that the worker was asked to stop: if it is killed from now on, its trial is not the cause."""
        self.write(replace(self.progress, is_stopping=True))


@contextmanager
def hold_worker_lock(study_folder: Path) -> Iterator[WorkerLock]:
    """Hold the lock file of a new worker for the length of the block.

    If the worker has to leave a running trial behind, the file stays without a lock, until others release the trial.
    In a folder that cannot be written there is none, and heartbeats decide.
    """
    worker = uuid.uuid4().hex
    path = study_folder / FOLDER / worker
    try:
        handle = _create_locked(path)
    except OSError:
        handle = -1  # to which nothing can be written
    _handles.add(handle)
    lock = None
    try:
        lock = WorkerLock(path, handle, _identify(worker, path))
        yield lock
    finally:
        _handles.discard(handle)
        with suppress(OSError):
            if lock is not None and lock.has_trial:
                lock.note_stop_request()  # the trial is not the cause
            else:
                path.unlink()
            os.close(handle)
            path.parent.rmdir()  # if it has no lock file


def is_alive(worker: WorkerIdentity, study_folder: Path) -> bool | None:
    """Whether a worker is alive; None if that cannot be known here, so that heartbeats decide."""
    if not worker.id:
        return _is_process_alive(worker)
    folder = study_folder / FOLDER
    if worker.boot is None or worker.boot != _boot_id() or worker.locks != _folder_id(folder):
        return None
    if not _WORKER_ID.fullmatch(worker.id):
        return None
    return _is_locked(folder / worker.id)


def read_progress(worker: WorkerIdentity, study_folder: Path) -> WorkerProgress | None:
    """Return what a worker was doing, or None if its lock file is not here."""
    if not _WORKER_ID.fullmatch(worker.id):
        return None
    try:
        stored = json.loads((study_folder / FOLDER / worker.id).read_text(encoding="utf8"))
        return read_part(WorkerProgress, stored)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def sweep_worker_locks(study_folder: Path) -> None:
    """Remove the lock files of dead workers."""
    if fcntl is None:
        return
    with suppress(OSError):
        for path in [path for path in (study_folder / FOLDER).iterdir() if _WORKER_ID.fullmatch(path.name)]:
            with suppress(OSError):
                handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(handle)
        (study_folder / FOLDER).rmdir()


def _create_locked(path: Path) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # another worker has removed the empty folder
            continue
        if fcntl is None:
            return handle
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # a sweep looks at it
            os.close(handle)
            continue
        except OSError:  # some network file systems have no locks
            return handle
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        os.close(handle)  # a sweep has removed the file before it was locked


def _identify(worker: str, path: Path) -> WorkerIdentity:
    import psutil

    # A lock that does not keep others out says nothing about this worker.
    boot = _boot_id() if _is_locked(path) else None
    started = psutil.Process().create_time()
    return WorkerIdentity(socket.gethostname(), os.getpid(), started, worker, boot, _folder_id(path.parent))


def _is_locked(path: Path) -> bool | None:
    """Whether a process holds the lock of a file; None if there are no locks."""
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks here
        return None
    finally:
        os.close(handle)
    return False


def _is_process_alive(worker: WorkerIdentity) -> bool | None:
    """Whether a worker of an earlier version is alive, by its process id."""
    import psutil

    if worker.host != socket.gethostname():
        return None
    try:
        started = psutil.Process(worker.pid).create_time()
    except psutil.NoSuchProcess:
        return False
    return bool(abs(started - worker.started) < _START_TOLERANCE)  # process ids are reused


@cache
def _boot_id() -> str | None:
    try:
        return _BOOT_ID.read_text().strip() or None
    except OSError:
        return None


def _folder_id(folder: Path) -> str | None:
    """Return device and inode: two containers on one kernel may have different folders at the same path."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return f"{status.st_dev}:{status.st_ino}"


def _close_handles() -> None:
    """Close the locks in a forked child, which would keep them while it outlives the worker."""
    for handle in _handles:
        with suppress(OSError):
            os.close(handle)
    _handles.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_handles)
