"""What hpo takes beside training: its commands as whole processes, a trial's share, a suggestion, and memory.

python -m benchmarks.overhead            writes its table
python -m benchmarks.overhead --small    on next to nothing, and writes nothing
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
from benchmarks.results import markdown, record
from tests.support import synthetic


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    stored: int  # trials that a reader reads
    before: int  # trials that a suggestion builds on
    trials: int  # that are run for time and memory
    suggestions: int
    repeats: int  # of each command
    commands: Mapping[str, str]  # of the shell, and their bars in seconds


COMMANDS = {
    "--help": "0.3",
    "--version": "",
    "show {study}": "1",
    "show {study} --json": "",
    "show --storage {store}": "",
    "compare {study}": "",
    "report {study}": "15",
}
WARM = 2  # trials before time counts: the first imports, and keeps its weights
EARLY = 4  # trials after which memory should grow no more
FULL = Scale(stored=10_000, before=1_000, trials=50, suggestions=12, repeats=5, commands=COMMANDS)
SMALL = Scale(100, 50, EARLY, 3, 1, {command: COMMANDS[command] for command in ("--help", "show {study}")})


def processes(repeats: int, *words: str) -> tuple[float, float]:
    """Wall and processor seconds of a command of the shell, imports included: medians over the repeats."""
    taken = []
    for _ in range(repeats):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-m", *words], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        taken.append((time.perf_counter() - started, used))
    wall, used = zip(*taken, strict=True)
    return median(wall), median(used)


class Clock:
    """Wall and processor seconds, summed while it runs."""

    def __init__(self) -> None:
        self.seconds = [0.0, 0.0]
        self._begun: list[float] | None = None

    def start(self) -> None:
        self._begun = [time.perf_counter(), time.process_time()]

    def stop(self) -> None:
        if self._begun:
            now = time.perf_counter(), time.process_time()
            self.seconds = [each + end - start for each, end, start in zip(self.seconds, now, self._begun, strict=True)]
        self._begun = None

    def around(self, owner: Any, name: str) -> None:
        """Run whenever this method does."""
        method = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            self.start()
            try:
                return method(*args, **options)
            finally:
                self.stop()

        setattr(owner, name, timed)


def trials(folder: Path, count: int) -> dict[str, Any]:
    """Seconds per trial outside Trainer's epochs, with what hpo does at rungs in them; and memory as trials go by."""
    import psutil

    from hpo.search.search_listener import SearchListener
    from hpo.search.worker import Worker
    from hpo.training.trainer import RungTrainer

    whole, epochs, rungs = Clock(), Clock(), Clock()
    epochs.around(RungTrainer, "_run_epoch")
    rungs.around(Worker, "_at_rung")
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
    return {"outside": [(all_ - inside + ours) / (count - WARM) for all_, inside, ours in sums], "resident": resident}


def suggestion(file: Path, count: int) -> dict[str, Any]:
    """Seconds from the end of a trial to the next one's values, in a search that goes on for so many trials."""
    from optuna import Study
    from optuna.samplers import TPESampler

    from hpo.search.search_listener import SearchListener
    from hpo.store.storage import storage_url
    from hpo.study.search_space import SearchSpace
    from hpo.study.spec import load_study

    clocks = between, asked, optunas = Clock(), Clock(), Clock()
    for clock, owner, name in (
        (asked, Study, "ask"),
        (asked, SearchSpace, "suggest"),
        (optunas, TPESampler, "infer_relative_search_space"),
        (optunas, TPESampler, "sample_relative"),
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
    of_each = zip(*gaps[1:], strict=True)  # the first had no trial before it
    found = [[median(each) for each in zip(*seconds, strict=True)] for seconds in of_each]
    return dict(zip(("between", "asked", "tpe"), found, strict=True))


def _search(file: Path, url: str, listener: Any, *overrides: str) -> None:
    from transformers.utils import logging

    from hpo.search.engines import run_search
    from hpo.study.spec import load_study

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    run_search(load_study(file, overrides), url, listener)


def table(scale: Scale) -> str:
    """Every figure beside its bar."""
    rows: list[list[str]] = []

    def row(what: str, bar: str, seconds: Sequence[float]) -> None:
        rows.append([what, bar, *(f"{each:.3f}" if each < 1 else f"{each:.1f}" for each in seconds)])

    with tempfile.TemporaryDirectory() as folder:
        final = "report {study}" in scale.commands
        stored = synthetic.make(Path(folder) / "stored", scale.stored, workers=2, final=final)
        places = {"study": str(stored.file), "store": f"sqlite:///{folder}/stored/store.db"}
        for command, bar in scale.commands.items():
            shown = "hpo " + command.format(study="STUDY", store="URL")
            of = f", {scale.stored:,} trials" if "{" in command else ""
            row(f"`{shown}`{of}", bar, processes(scale.repeats, "hpo", *command.format(**places).split()))
        begun = synthetic.make(Path(folder) / "begun", scale.before, parameters=4, workers=1, final=False)
        words = [folder, str(scale.trials), str(begun.file), str(scale.suggestions)]
        child = [sys.executable, "-W", "ignore", "-m", "benchmarks.overhead", "child", *words]
        found = json.loads(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
    row("a trial outside training and evaluation", "0.2", found["outside"])
    row(f"a suggestion after {scale.before:,} trials, with the writing of its values", "0.05", found["asked"])
    row("of which Optuna's TPE itself", "", found["tpe"])
    row("all from a trial's end to the next one's values", "", found["between"])
    early, late = found["resident"][EARLY - 1], found["resident"][-1]
    grown = f"{early:.0f} and {late:.0f} MB, ratio {late / early:.3f}"
    seconds = markdown(["seconds", "bar", "wall", "processor"], rows)
    return f"{seconds}\n\nMemory of the process after {EARLY} and after {scale.trials} trials: {grown}."


def main() -> None:
    import optuna

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    if sys.argv[1:2] == ["child"]:
        folder, count, file, suggestions = sys.argv[2:]
        print(json.dumps(trials(Path(folder), int(count)) | suggestion(Path(file), int(suggestions))))
    elif "--small" in sys.argv:
        print(table(SMALL))
    else:
        how = f"medians of {FULL.repeats} processes; {FULL.trials} trials; {FULL.suggestions} suggestions; one thread"
        record("overhead", f"seed 0, {how}", table(FULL))


if __name__ == "__main__":
    main()
