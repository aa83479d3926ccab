"""Write files and folders completely or not at all: write into a folder of ours beside the target, then rename.

The folder is hidden and new for every write. Its name certifies itself: nothing but hpo gives a folder such a name, so
what a killed process leaves can be told from the files of the user. The writer holds a lock on a file in it, which the
operating system releases when the process ends, however that happens. The next write sweeps folders without a lock.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no locks, so nothing is swept
    fcntl = None  # type: ignore[assignment]

POLL_SECONDS = 0.05  # between two attempts to get a lock within a time
OWNER_FILE = "owner"  # in a temporary folder: the writer holds its lock
_NEW, _OLD, _REPLACED = "new", "old", "replaced"  # in a temporary folder, each holds one entry of the target's name
_NAME = re.compile(r"\.hpo-(?P<token>[0-9a-f]{16})-(?P<certificate>[0-9a-f]{12})(?P<lock>\.lock)?")
_NOTE = "A temporary folder of hpo. It is removed when its process ends, or by the next one that writes here.\n"


@contextmanager
def atomic_folder(folder: Path, may_replace: Callable[[], bool] = lambda: True) -> Iterator[Path]:
    """Yield a new folder to write to, which replaces `folder` when the block ends without an error.

    Several processes may write the same folder: the replacements happen one after the other. If `folder` exists by
    then, `may_replace` decides, under the lock, whether the new folder replaces it. A link is followed.
    """
    target = Path(os.path.realpath(folder))
    with _temporary_folder(target.parent) as temporary:
        new = temporary / _NEW / target.name
        new.mkdir(parents=True)
        yield new
        with folder_lock(target):
            if not target.exists():
                new.rename(target)
            elif may_replace():
                _exchange(new, target, temporary)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the lock under which a folder is replaced. If a process was killed in the middle, restore the old one."""
    target = Path(os.path.realpath(folder))
    with exclusive_lock(target.parent, target.name):
        _restore(target)
        yield


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces `file` when the block ends without an error. A link is followed."""
    target = Path(os.path.realpath(file))
    with _temporary_folder(target.parent) as temporary:
        new = temporary / _NEW / target.name
        new.parent.mkdir()
        yield new
        new.replace(target)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a folder among the system's temporary files that is removed afterwards, at the latest by the next one."""
    with _temporary_folder(Path(tempfile.gettempdir())) as temporary:
        scratch = temporary / _NEW
        scratch.mkdir()
        yield scratch


@contextmanager
def exclusive_lock(folder: Path, purpose: str, timeout: float = math.inf) -> Iterator[None]:
    """Hold a lock that one process at a time can have in a folder for a purpose; the lock file is removed afterwards.

    Raise BlockingIOError if another process still has it after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    path = folder / f"{_certified_name(hashlib.sha256(purpose.encode()).hexdigest()[:16])}.lock"
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            is_locked = _lock(handle, wait=timeout == math.inf)
            # The one that had the lock has removed the file, perhaps after it was opened here.
            if is_locked and _is_same_file(handle, path):
                break
            if not is_locked and time.monotonic() >= deadline:
                raise BlockingIOError(f"{path} is locked")
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if not is_locked:
            time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def sweep_leftovers(folder: Path) -> None:
    """Remove what killed processes have left in a folder; the files of living writers and of others stay.

    If a process was killed while it replaced a folder, the old one is restored.
    """
    with suppress(OSError):
        for path in [entry for entry in folder.iterdir() if _is_certified(entry.name)]:
            with suppress(OSError):
                _sweep(path)


def list_leftovers(folder: Path) -> list[Path]:
    """Return what killed processes have left in a folder; `sweep_leftovers` would remove it."""
    leftovers = []
    with suppress(OSError):
        for path in sorted(entry for entry in folder.iterdir() if _is_certified(entry.name)):
            with suppress(OSError):
                handle = os.open(path / OWNER_FILE if path.is_dir() else path, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    if fcntl is not None and _can_lock(handle):
                        leftovers.append(path)
                finally:
                    os.close(handle)
    return leftovers


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new temporary folder of ours whose lock this process holds."""
    parent.mkdir(parents=True, exist_ok=True)
    sweep_leftovers(parent)
    temporary, handle = _create_temporary(parent)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(handle)


def _create_temporary(parent: Path) -> tuple[Path, int]:
    """Create a temporary folder and lock it.

    Before it is locked, another process may take it for a leftover and remove it; then the next name is tried.
    """
    while True:
        temporary = parent / _certified_name(secrets.token_hex(8))
        temporary.mkdir(mode=0o700)
        try:
            handle = os.open(temporary / OWNER_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue
        if _lock(handle, wait=False) and _is_same_file(handle, temporary / OWNER_FILE):
            os.write(handle, _NOTE.encode())
            return temporary, handle
        os.close(handle)


def _exchange(new: Path, target: Path, temporary: Path) -> None:
    """Put a folder into the place of another one, which stays in the temporary folder."""
    # POSIX cannot replace a folder that is not empty, so this takes two renames. If the process is killed between them,
    # the next one finds `old` and restores it.
    (temporary / _OLD).mkdir()
    target.rename(temporary / _OLD / target.name)
    try:
        new.rename(target)
    except BaseException:
        (temporary / _OLD / target.name).rename(target)
        raise
    (temporary / _OLD).rename(temporary / _REPLACED)


def _restore(target: Path) -> None:
    """Restore the folder that a killed process had moved away. The caller holds the lock of the target."""
    if os.path.lexists(target):
        return
    for temporary in target.parent.iterdir():
        if _is_certified(temporary.name) and (temporary / _OLD / target.name).exists():
            (temporary / _OLD / target.name).rename(target)
            return


def _sweep(path: Path) -> None:
    """Remove a temporary folder or a lock file of ours, unless a process holds its lock."""
    is_folder = path.is_dir() and not path.is_symlink()
    if fcntl is None or path.lstat().st_uid != os.getuid() or is_folder == path.name.endswith(".lock"):
        return
    lock_file = path / OWNER_FILE if is_folder else path
    handle = os.open(lock_file, os.O_RDWR | (os.O_CREAT if is_folder else 0) | os.O_NOFOLLOW, 0o600)
    try:
        if not _can_lock(handle) or not _is_same_file(handle, lock_file):
            return
        if not is_folder:
            path.unlink()
            return
        for old in (path / _OLD).iterdir() if (path / _OLD).is_dir() else ():
            with folder_lock(path.parent / old.name):
                pass
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)


def _certified_name(token: str) -> str:
    certificate = hashlib.sha256(f"temporary file of hpo {token}".encode()).hexdigest()[:12]
    return f".hpo-{token}-{certificate}"


def _is_certified(name: str) -> bool:
    """Whether only hpo can have given this name."""
    match = _NAME.fullmatch(name)
    return match is not None and name == _certified_name(match["token"]) + (match["lock"] or "")


def _lock(handle: int, wait: bool) -> bool:
    """Lock an open file; return False if another process has the lock. Where there are no locks, go on without."""
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError:
            pass  # some network file systems have no locks
    return True


def _can_lock(handle: int) -> bool:
    """Lock an open file; return False if another process has the lock, or if there are no locks here."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_same_file(handle: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
