"""Compare our search with the plain library's, as documented and tuned: seconds to its best score, total, disk, memory.

    python -m benchmarks.vs_stock [cpu|small|gpu] [--seeds 0 1 2] [--again ours]

Opponents alternate, each in its own process and alone on the machine, with everything counted from its start: imports,
loading, tokenizing, evaluation, pruned trials, storage. Runs in benchmarks/runs/ are not repeated, except those of
--again. Ctrl-Z pauses; the time is not counted, except for ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import peak
from benchmarks.opponents import OPPONENTS, Case
from benchmarks.real import MODELS, data_file, require_shared_data
from benchmarks.results import RUNS, describe_runs, load_or_run, markdown_table, write_table

if TYPE_CHECKING:
    from hpo.data.splits import TextData


@dataclass(frozen=True)
class Setting:
    """A case without its seed: the source and number of its rows."""

    source: str  # imdb, sst2, or builtin:reviews
    rows: tuple[int, int]  # train, validation
    checkpoint: str
    max_length: int
    space: str = "finetune.toml"
    trials: int = 8


SETTINGS = {
    "smoke": Setting("builtin:reviews", (200, 100), "builtin:tiny", 32, "from-scratch.toml", 2),
    "small": Setting("builtin:reviews", (4000, 1000), "builtin:tiny", 64, "from-scratch.toml", 8),
    "cpu": Setting("imdb", (600, 400), "minilm-l6-sst2", 256),
    "gpu": Setting("imdb", (20_000, 5_000), "minilm-l6", 512),
}
CASE_FILES = ("case.json", "train.parquet", "validation.parquet", "tiny")  # which every opponent gets
TEST = 2000  # test rows that winners are scored on, at most


def load_rows(setting: Setting, folder: Path) -> TextData:
    """Load the rows of a setting; the searches do not get its test split."""
    from hpo.data.splits import load_splits
    from hpo.study.spec_tables import DataSpec

    train, validation = setting.rows
    limits: dict[Any, int] = {"train": train, "validation": validation, "test": TEST}
    if setting.source.startswith("builtin:"):
        return load_splits(DataSpec(source=setting.source, validation=validation, rows=limits), folder)
    train_file, test_file = (str(data_file(setting.source, split)) for split in ("train", "test"))
    return load_splits(DataSpec(train=train_file, test=test_file, validation=validation, rows=limits), folder)


def prepare_case(name: str, seed: int) -> Path:
    """Return a folder with the rows of a case and, for builtin:tiny, its weights; the same for every opponent."""
    folder = Path(tempfile.gettempdir()) / "hpo-cases" / name / str(seed)
    if not (folder / "case.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write_case(SETTINGS[name], seed, folder)
    return folder


def _write_case(setting: Setting, seed: int, folder: Path) -> None:
    import pandas
    import torch

    from hpo.study.spec_tables import ModelSpec
    from hpo.training.checkpoint import Checkpoint, save_model

    data = load_rows(setting, folder)
    for name, split in (("train", data.train), ("validation", data.validation)):
        pandas.DataFrame({"text": split.texts, "label": split.labels}).to_parquet(folder / f"{name}.parquet")
    checkpoint = str(MODELS / setting.checkpoint)
    if setting.checkpoint == "builtin:tiny":
        tiny = ModelSpec(checkpoint=setting.checkpoint, max_length=setting.max_length)
        start = Checkpoint(tiny, data.train.texts, data.label_names)
        checkpoint = str(folder / "tiny")
        torch.manual_seed(seed)
        save_model(start.fresh(), start.tokenizer, Path(checkpoint))
    Case(checkpoint, setting.max_length, setting.space, setting.trials, seed, torch.get_num_threads()).write(folder)


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Run an opponent on the case in a folder; return its scores over time, total seconds, best, disk and memory."""
    with tempfile.TemporaryDirectory() as scratch:
        for file_name in CASE_FILES:
            if (folder / file_name).exists():
                (Path(scratch) / file_name).symlink_to(folder / file_name)
        speed = peak.measure_matmul()
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.opponents", name, scratch],
            env={**os.environ, "HPO_CACHE": f"{scratch}/hpo-cache"},
            capture_output=True,
            text=True,
        )
        total = time.monotonic() - started
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr[-2000:]}")
        *scores, outcome = [json.loads(line) for line in (Path(scratch) / f"{name}.jsonl").read_text().splitlines()]
        caches = ("hpo-cache", "cache")  # of tokens; not counted, because they can be deleted at any time
        left = sum(
            file.stat().st_size
            for file in Path(scratch).rglob("*")
            if file.is_file() and not file.is_symlink() and file.relative_to(scratch).parts[0] not in caches
        )
    total -= outcome["paused"]
    return {"total": total, "scores": scores, **outcome, "disk": left, "peak": speed}


def seconds_until(run: dict[str, Any], score: float) -> float:
    """Return the seconds until a run first had a score; infinite if it never did."""
    return next((each["at"] for each in run["scores"] if each["value"] >= score), float("inf"))


def best_until(run: dict[str, Any], seconds: float) -> float | None:
    """Return the best score that a run had after these seconds, or None if it had none."""
    return max((each["value"] for each in run["scores"] if each["at"] <= seconds), default=None)


HEADS = (
    "seed",
    "search",
    "best validation score",
    "best when ours ends",
    "reached after (s)",
    "ours reaches it after (s)",
    "total (s)",
    "disk (MB)",
    "memory (MB)",
    "fp32 GFLOP/s",
)


def build_table(runs: list[dict[str, Any]]) -> str:
    """Return rows per seed and opponent, and ratios as medians over the seeds."""
    lines: list[Sequence[object]] = []
    ratios: dict[str, list[float]] = {}
    for seed in sorted({run["seed"] for run in runs}):
        by_opponent = {run["opponent"]: run for run in runs if run["seed"] == seed}
        mine = by_opponent["ours"]
        for name, run in ((name, by_opponent[name]) for name in OPPONENTS if name in by_opponent):
            held = seconds_until(mine, run["best"])
            times = f"{seconds_until(run, run['best']):.0f}", f"{held:.0f}", f"{run['total']:.0f}"
            sizes = f"{run['disk'] / 1e6:.1f}", f"{run['memory'] / 1e6:.0f}", f"{run['peak']:.0f}"
            at_equal_time = best_until(run, mine["total"])
            bests = f"{run['best']:.4f}", "-" if at_equal_time is None else f"{at_equal_time:.4f}"
            lines.append((seed, name, *bests, *times, *sizes))
            if name == "ours":
                continue
            ratios.setdefault(f"{name}'s total time / time until ours reaches its best (0 = never)", []).append(
                run["total"] / held
            )
            ratios.setdefault(f"{name}'s total time / our total time", []).append(run["total"] / mine["total"])
            ratios.setdefault(f"our best minus {name}'s (points)", []).append(100 * (mine["best"] - run["best"]))
    medians = (
        f"- {what}: {median(each):.1f} (by seed: {', '.join(f'{one:.1f}' for one in each)})"
        for what, each in ratios.items()
    )
    return "\n".join([markdown_table(HEADS, lines), "", "Medians over the seeds:", "", *medians])


def parse_arguments(about: str, seeds: int, names: Sequence[str], against: str) -> argparse.Namespace:
    """Parse the command line of a benchmark on these settings: the case, its seeds, which names to run or to run again.

    The result also has `file`, in which its runs are stored, and `against`, the name that the table needs. Exits with a
    clear message if the data of the case are missing.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("case", nargs="?", default="cpu", choices=SETTINGS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(seeds)))
    parser.add_argument("--only", nargs="+", default=names, choices=names)
    parser.add_argument("--again", nargs="+", default=(), choices=names)
    options = parser.parse_args()
    if not SETTINGS[options.case].source.startswith("builtin:"):
        require_shared_data()
    options.against = against
    options.file = runs_file(Path(sys.argv[0]).stem, options.case)
    if options.case == "smoke":  # its runs are not kept, but an older checkout may have left some
        options.file.unlink(missing_ok=True)
    return options


def runs_file(measurement: str, case: str) -> Path:
    """Return the file that stores the runs of a case: in the repository, except for smoke runs."""
    folder = RUNS if case != "smoke" else Path(tempfile.gettempdir()) / "hpo-smoke"
    folder.mkdir(exist_ok=True)
    return folder / f"{measurement}-{case}.jsonl"


def write_results(
    options: argparse.Namespace,
    runs: list[dict[str, Any]],
    table: Callable[[list[dict[str, Any]]], str],
    more: str = "",
) -> None:
    """Write a table of runs into RESULTS.md; for a smoke run only print it."""
    if options.against not in options.only:
        print(f"kept in {options.file}; no table without {options.against}")
    elif options.case == "smoke":
        print(table(runs))
    else:
        write_table(options.file.stem.replace("-", " "), describe_runs(runs) + more, table(runs))


def main() -> None:
    options = parse_arguments(__doc__, seeds=3, names=tuple(OPPONENTS), against="ours")
    runs = []
    for seed in options.seeds:
        folder = prepare_case(options.case, seed)
        for name in options.only:
            key = {"seed": seed, "opponent": name}
            runs.append(load_or_run(options.file, key, partial(measure, name, folder), name in options.again))
    write_results(options, runs, build_table)


if __name__ == "__main__":
    main()
