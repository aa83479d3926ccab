"""A real PostgreSQL server for tests."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server, started for this test, on a socket in a temporary folder."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [
        Path(path).resolve().parent for path in [shutil.which("postgres")] if path
    ]
    if not folders:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    # Not in pytest's temporary folder, which only the current user may enter.
    bin_, home = folders[-1], Path(tempfile.mkdtemp(prefix="hpo-pg-"))
    data, owner = home / "data", []
    if Path("/proc/self").owner() == "root":  # the server refuses to run as root
        shutil.chown(home, "postgres")
        owner = ["runuser", "-u", "postgres", "--"]
    port = "54329"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
    subprocess.run([*owner, str(bin_ / "initdb"), "-D", str(data), "-U", "me", "-A", "trust"], **quiet)  # type: ignore[call-overload]
    options = f"-k {home} -p {port} -c listen_addresses= -c fsync=off"
    control = [*owner, str(bin_ / "pg_ctl"), "-D", str(data), "-l", str(home / "log"), "-w"]
    subprocess.run([*control, "-o", options, "start"], **quiet)  # type: ignore[call-overload]
    try:
        yield f"postgresql://me@/postgres?host={home}&port={port}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)  # type: ignore[call-overload]
        shutil.rmtree(home)
