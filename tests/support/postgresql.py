"""A real PostgreSQL server for tests."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}


@dataclass(frozen=True)
class Server:
    """A server on a socket in a temporary folder, which tests can stop and start."""

    url: str
    command: list[str]
    options: str

    def start(self) -> None:
        """Start it, and wait until it answers."""
        subprocess.run([*self.command, "-o", self.options, "start"], **_QUIET)  # type: ignore[call-overload]

    def stop(self) -> None:
        """Stop it as an administrator would, without waiting for its clients."""
        subprocess.run([*self.command, "-m", "fast", "stop"], **_QUIET)  # type: ignore[call-overload]


@contextmanager
def run_server(port: int, options: str = "") -> Iterator[Server]:
    """Run a server with further options; the test is skipped if PostgreSQL is not installed."""
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
    subprocess.run([*owner, str(bin_ / "initdb"), "-D", str(data), "-U", "me", "-A", "trust"], **_QUIET)  # type: ignore[call-overload]
    server = Server(
        f"postgresql://me@/postgres?host={home}&port={port}",
        [*owner, str(bin_ / "pg_ctl"), "-D", str(data), "-l", str(home / "log"), "-w"],
        f"-k {home} -p {port} -c listen_addresses= -c fsync=off {options}",
    )
    server.start()
    try:
        yield server
    finally:
        subprocess.run([*server.command, "-m", "immediate", "stop"], stdout=subprocess.DEVNULL, check=False)
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server, started for this test, on a socket in a temporary folder."""
    with run_server(54329) as server:
        yield server.url
