"""Seconds, peak memory and size of the report, and of `hpo show`, from 100 to 10,000 trials that nobody ran."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import markdown, record
from tests.support import synthetic

TRIALS = (100, 1_000, 10_000)
SEED = 0
CHILD = """\
import pathlib, sys
from hpo.cli import main
try:
    main()
finally:  # the highest mark since the process began; that of getrusage knows of the process that started it too
    marks = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    print(marks["VmHWM"].split()[0], file=sys.stderr)
"""


def measure(*words: str) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of one command of the shell, its start and imports included."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True, check=True)
    return time.monotonic() - started, int(done.stderr.split()[-1]) / 1e3


def row(trials: int) -> list[str]:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        study = synthetic.make(Path(folder), trials, seed=SEED, workers=2)
        shown = measure("show", str(study.file))
        reported = measure("report", str(study.file))
        size = (study.folder / "report.html").stat().st_size / 1e6
        store = (Path(folder) / "store.db").stat().st_size / 1e6
    cells = [
        f"{trials:,}",
        f"{store:.1f}",
        *(cell for each, memory in (shown, reported) for cell in (f"{each:.1f}", f"{memory:.0f}")),
    ]
    return [*cells, f"{size:.2f}"]


def main() -> None:
    heads = ("trials", "store, MB", "show, s", "peak, MB", "report, s", "peak, MB", "report.html, MB")
    table = markdown(heads, map(row, TRIALS))
    record("report", f"seed {SEED}", table)


if __name__ == "__main__":
    main()
