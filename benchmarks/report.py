"""Measure time, peak memory and size of the report, and of `hpo show`, for 100 to 10,000 synthetic trials."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import markdown_table, write_table
from tests.support import synthetic

TRIALS = (100, 1_000, 10_000)
SEED = 0
CHILD = """\
import pathlib, sys
from hpo.cli import main
try:
    main()
finally:  # the peak of this process; the one of getrusage includes the process that started it
    marks = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    print(marks["VmHWM"].split()[0], file=sys.stderr)
"""


def measure(*arguments: str) -> tuple[float, float]:
    """Return wall seconds and peak memory in MB of one command, its start and imports included."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=True)
    return time.monotonic() - started, int(done.stderr.split()[-1]) / 1e3


def row(trials: int) -> list[str]:
    """Return the cells for one number of trials."""
    with tempfile.TemporaryDirectory() as folder:
        study = synthetic.make(Path(folder), trials, seed=SEED, workers=2)
        show = measure("show", str(study.file))
        report = measure("report", str(study.file))
        size = (study.folder / "report.html").stat().st_size / 1e6
        store = (Path(folder) / "store.db").stat().st_size / 1e6
    cells = [
        f"{trials:,}",
        f"{store:.1f}",
        *(cell for each, memory in (show, report) for cell in (f"{each:.1f}", f"{memory:.0f}")),
    ]
    return [*cells, f"{size:.2f}"]


def main() -> None:
    heads = (
        "trials",
        "store (MB)",
        "`hpo show` (s)",
        "peak memory (MB)",
        "`hpo report` (s)",
        "peak memory (MB)",
        "report.html (MB)",
    )
    table = markdown_table(heads, map(row, TRIALS))
    write_table("report", f"seed {SEED}", table)


if __name__ == "__main__":
    main()
