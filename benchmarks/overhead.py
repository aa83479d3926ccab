"""Measure the overhead of hpo: its commands as whole processes, per trial, per suggestion, and memory.

python -m benchmarks.overhead            writes its table
python -m benchmarks.overhead --small    prints the table of a tiny run
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import memory
from benchmarks.results import markdown_table, write_table
from tests.support import synthetic


@dataclass(frozen=True)
class Scale:
    """The size of a measurement."""

    stored: int  # trials that commands read
    before: int  # trials that a suggestion is based on
    trials: int  # run for time and memory
    suggestions: int
    repeats: int  # of each command
    commands: Mapping[str, str]  # command -> limit in seconds


COMMANDS = {
    "--help": "0.3",
    "--version": "",
    "show {study}": "1",
    "show {study} --json": "",
    "show --storage {store}": "",
    "compare {study}": "",
    "report {study}": "15",
}
WARM = 2  # trials before measuring: the first one imports libraries and saves weights
EARLY = 4  # trials after which memory should not grow
FULL = Scale(stored=10_000, before=1_000, trials=50, suggestions=12, repeats=5, commands=COMMANDS)
SMALL = Scale(100, 50, EARLY, 3, 1, {command: COMMANDS[command] for command in ("--help", "show {study}")})


def time_command(repeats: int, *arguments: str) -> tuple[float, float]:
    """Return wall and CPU seconds of a command, imports included: medians over the repeats."""
    times = []
    for _ in range(repeats):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-m", *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        times.append((time.perf_counter() - started, used))
    walls, cpus = zip(*times, strict=True)
    return median(walls), median(cpus)


class Clock:
    """A stopwatch for wall and CPU seconds."""

    def __init__(self) -> None:
        self.seconds = [0.0, 0.0]
        self._started: list[float] | None = None

    def start(self) -> None:
        self._started = [time.perf_counter(), time.process_time()]

    def stop(self) -> None:
        if self._started:
            now = time.perf_counter(), time.process_time()
            self.seconds = [
                each + end - start for each, end, start in zip(self.seconds, now, self._started, strict=True)
            ]
        self._started = None

    def around(self, owner: Any, name: str) -> None:
        """Run during every call of this method."""
        method = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            self.start()
            try:
                return method(*args, **options)
            finally:
                self.stop()

        setattr(owner, name, timed)


def measure_trials(folder: Path, count: int) -> dict[str, Any]:
    """Return seconds per trial outside Trainer's epochs, rungs included, and memory after each trial."""
    import psutil

    from hpo.search.search_listener import SearchListener
    from hpo.search.worker import Worker
    from hpo.training.trainer import RungTrainer

    whole, epochs, rungs = Clock(), Clock(), Clock()
    epochs.around(RungTrainer, "_run_epoch")
    rungs.around(Worker, "_on_rung")
    resident: list[float] = []

    class Watch(SearchListener):
        def ends(self, *_: Any) -> None:
            resident.append(psutil.Process().memory_info().rss / 1e6)
            if len(resident) == WARM:
                for clock in (epochs, rungs):
                    clock.seconds = [0.0, 0.0]
                whole.start()
            elif len(resident) == count:
                whole.stop()

    file = folder / "memory.toml"
    file.write_text(memory.STUDY)
    _search(file, f"sqlite:///{folder}/store.db", Watch(), f"search.trials={count}")
    sums = zip(whole.seconds, epochs.seconds, rungs.seconds, strict=True)
    return {
        "outside": [(total - inside + at_rungs) / (count - WARM) for total, inside, at_rungs in sums],
        "resident": resident,
    }


def measure_suggestions(file: Path, count: int) -> dict[str, Any]:
    """Return seconds from the end of a trial to the next one's values, over `count` more trials of a search."""
    from optuna import Study
    from optuna.samplers import TPESampler

    from hpo.search.search_listener import SearchListener
    from hpo.store.storage import storage_url
    from hpo.study.search_space import SearchSpace
    from hpo.study.spec import load_study

    clocks = between, suggesting, optuna_clock = Clock(), Clock(), Clock()
    for clock, owner, name in (
        (suggesting, Study, "ask"),
        (suggesting, SearchSpace, "suggest"),
        (optuna_clock, TPESampler, "infer_relative_search_space"),
        (optuna_clock, TPESampler, "sample_relative"),
    ):
        clock.around(owner, name)
    gaps: list[list[list[float]]] = []

    class Watch(SearchListener):
        def ends(self, *_: Any) -> None:
            for clock in clocks:
                clock.seconds = [0.0, 0.0]
            between.start()

        def begins(self, *_: Any) -> None:
            between.stop()
            gaps.append([clock.seconds for clock in clocks])

    spec = load_study(file)
    _search(file, storage_url(spec), Watch(), f"search.trials={spec.search.trials + count}", "search.workers=1")
    of_each = zip(*gaps[1:], strict=True)  # the first has no trial before it
    medians = [[median(each) for each in zip(*seconds, strict=True)] for seconds in of_each]
    return dict(zip(("between", "asked", "tpe"), medians, strict=True))


def _search(file: Path, url: str, listener: Any, *overrides: str) -> None:
    from transformers.utils import logging

    from hpo.search.engines import run_search
    from hpo.study.spec import load_study

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    run_search(load_study(file, overrides), url, listener)


def build_table(scale: Scale) -> str:
    """Return every figure with its limit."""
    rows: list[list[str]] = []

    def add_row(what: str, limit: str, seconds: Sequence[float]) -> None:
        rows.append([what, limit, *(f"{each:.3f}" if each < 1 else f"{each:.1f}" for each in seconds)])

    with tempfile.TemporaryDirectory() as folder:
        final = "report {study}" in scale.commands
        stored = synthetic.make(Path(folder) / "stored", scale.stored, workers=2, final=final)
        paths = {"study": str(stored.file), "store": f"sqlite:///{folder}/stored/store.db"}
        for command, limit in scale.commands.items():
            text = "hpo " + command.format(study="STUDY", store="URL")
            of = f", {scale.stored:,} trials" if "{" in command else ""
            add_row(f"`{text}`{of}", limit, time_command(scale.repeats, "hpo", *command.format(**paths).split()))
        started = synthetic.make(Path(folder) / "begun", scale.before, parameters=4, workers=1, final=False)
        arguments = [folder, str(scale.trials), str(started.file), str(scale.suggestions)]
        child = [sys.executable, "-W", "ignore", "-m", "benchmarks.overhead", "child", *arguments]
        measured = json.loads(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
    add_row("a trial, without training and evaluation", "0.2", measured["outside"])
    add_row(f"a suggestion after {scale.before:,} trials, including storing its values", "0.05", measured["asked"])
    add_row("of which Optuna's TPE itself", "", measured["tpe"])
    add_row("all from a trial's end to the next one's values", "", measured["between"])
    early, late = measured["resident"][EARLY - 1], measured["resident"][-1]
    growth = f"{early:.0f} and {late:.0f} MB, ratio {late / early:.3f}"
    seconds = markdown_table(["seconds", "limit", "wall time", "CPU time"], rows)
    return f"{seconds}\n\nMemory of the process after {EARLY} and after {scale.trials} trials: {growth}."


def main() -> None:
    import optuna

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    if sys.argv[1:2] == ["child"]:
        folder, count, file, suggestions = sys.argv[2:]
        print(json.dumps(measure_trials(Path(folder), int(count)) | measure_suggestions(Path(file), int(suggestions))))
    elif "--small" in sys.argv:
        print(build_table(SMALL))
    else:
        how = f"medians of {FULL.repeats} processes; {FULL.trials} trials; {FULL.suggestions} suggestions; one thread"
        write_table("overhead", f"seed 0, {how}", build_table(FULL))


if __name__ == "__main__":
    main()
