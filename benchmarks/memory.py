"""Compare peak memory and disk use of 20 trials with 2: nothing of a finished trial may remain."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.results import markdown_table, write_table

STUDY = """\
name = "memory"
[data]
source = "builtin:reviews"
rows = { train = 600, validation = 200, test = 10 }
validation = 200
[model]
checkpoint = "builtin:tiny"
max_length = 64
[space.parameters.learning_rate]
low = 1e-4
high = 1e-2
log = true
[space.parameters.per_device_train_batch_size]
choices = [16, 32]
[search]
pruner = "none"
[training]
num_train_epochs = 1
"""
CHILD = """\
import sys
import psutil
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.study.spec import load_study
spec = load_study(sys.argv[1], (f"search.trials={sys.argv[2]}",))
study = run_search(spec, sys.argv[3], SearchListener())
print(max(trial.user_attrs["peak_memory"] for trial in study.get_trials()))
"""


def measure(trials: int) -> tuple[float, float]:
    """Return the peak memory of a process that runs this many trials, and the disk space that they leave, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "memory.toml"
        file.write_text(STUDY)
        url = f"sqlite:///{folder}/store.db"
        command = [sys.executable, "-W", "ignore", "-c", CHILD, str(file), str(trials), url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        left = sum(path.stat().st_size for path in (Path(folder) / "memory").rglob("*") if path.is_file())
        return int(done.stdout.split()[-1]) / 1e6, left / 1e6


def main() -> None:
    few, many = measure(2), measure(20)
    rows = [(trials, f"{memory:.0f}", f"{disk:.2f}") for trials, (memory, disk) in ((2, few), (20, many))]
    table = markdown_table(("trials", "peak memory (MB)", "disk used (MB)"), rows)
    ratios = f"20 trials / 2 trials: memory {many[0] / few[0]:.3f}, disk {many[1] / few[1]:.3f}."
    write_table("memory", "search.seed 0", f"{table}\n\n{ratios}")


if __name__ == "__main__":
    main()
