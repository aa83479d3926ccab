"""Folders that cannot be written, for tests that also run as root, whom permissions do not stop."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_DROP_CAPABILITY = 24  # PR_CAPBSET_DROP
_OVERRIDES = (1, 2, 3)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
# Runs commands one after the other in one process; prints the exit code of each.
_RUN_COMMANDS = """
import json, sys
from hpo.cli import main
for arguments in json.loads(sys.argv.pop()):
    sys.argv = ["hpo", *arguments]
    try: main()
    except SystemExit as end: print("exit code", end.code or 0)
"""


def obey_permissions() -> None:
    """Give up root's right to ignore permissions, from the next program of this process on: a `preexec_fn`."""
    if os.geteuid() == 0:
        for capability in _OVERRIDES:
            assert ctypes.CDLL(None).prctl(_DROP_CAPABILITY, capability, 0, 0, 0) == 0


def run_python(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that permissions stop."""
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, preexec_fn=obey_permissions, capture_output=True, text=True, timeout=300)


def run_commands(commands: Sequence[Sequence[str]], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run commands of hpo one after the other in a process that permissions stop."""
    import json

    return run_python(_RUN_COMMANDS, json.dumps(commands), folder=folder)


@contextmanager
def write_protected(folder: Path) -> Iterator[None]:
    """Take the right to write from a folder and everything in it, and give it back at the end."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(modes[path] & ~0o222)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(modes[path])
