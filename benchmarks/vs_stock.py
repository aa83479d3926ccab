"""Our search against the plain library's, tuned and as documented: seconds to its best score, total, disk, memory.

    python -m benchmarks.vs_stock [cpu|small|gpu] [--seeds 0 1 2] [--again ours]

Opponents run in turns, each in a process of its own and alone on the machine, with everything counted from its start:
imports, loading, tokenising, evaluation, pruned trials, storage. Runs that benchmarks/runs/ holds already are not made
again, but those that --again names. Ctrl-Z pauses, and the time is taken out, but not from ours.
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
from benchmarks.real import MODELS, data_file, need
from benchmarks.results import RUNS, kept, markdown, record, told

if TYPE_CHECKING:
    from hpo.data.splits import TextData


@dataclass(frozen=True)
class Setting:
    """A case without its seed: where the rows come from, and how many."""

    source: str  # a set of the real data, or builtin:reviews
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
GIVEN = ("case.json", "train.parquet", "validation.parquet", "tiny")  # to every opponent
TEST = 2000  # rows that winners are tried on, where there are so many


def rows(setting: Setting, folder: Path) -> TextData:
    """The rows of a setting; the searches are given none of its test split."""
    from hpo.data.splits import load_splits
    from hpo.study.spec import DataSpec

    train, validation = setting.rows
    limits = {"train": train, "validation": validation, "test": TEST}
    if setting.source.startswith("builtin:"):
        return load_splits(DataSpec(source=setting.source, validation=validation, rows=limits), folder)
    files = {split: str(data_file(setting.source, split)) for split in ("train", "test")}
    return load_splits(DataSpec(**files, validation=validation, rows=limits), folder)


def prepared(name: str, seed: int) -> Path:
    """A folder with the rows of a case, and for builtin:tiny its weights, the same for every opponent."""
    folder = Path(tempfile.gettempdir()) / "hpo-cases" / name / str(seed)
    if not (folder / "case.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _prepare(SETTINGS[name], seed, folder)
    return folder


def _prepare(setting: Setting, seed: int, folder: Path) -> None:
    import pandas
    import torch

    from hpo.study.spec import ModelSpec
    from hpo.training.checkpoint import Checkpoint, save_model

    data = rows(setting, folder)
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
    """What one opponent did with the case in a folder: its scores as they came, total, best, disk and memory."""
    with tempfile.TemporaryDirectory() as scratch:
        for given in GIVEN:
            if (folder / given).exists():
                (Path(scratch) / given).symlink_to(folder / given)
        speed = peak.matmul()
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
        caches = ("hpo-cache", "cache")  # of tokens, which anyone may delete
        left = sum(
            file.stat().st_size
            for file in Path(scratch).rglob("*")
            if file.is_file() and not file.is_symlink() and file.relative_to(scratch).parts[0] not in caches
        )
    total -= outcome["paused"]
    return {"total": total, "scores": scores, **outcome, "disk": left, "peak": speed}


def reached(run: dict[str, Any], score: float) -> float:
    """Seconds until a run first held a score; infinite where it never did."""
    return next((each["at"] for each in run["scores"] if each["value"] >= score), float("inf"))


HEADS = (
    "seed",
    "search",
    "best",
    "own best after, s",
    "ours holds it after, s",
    "total, s",
    "disk, MB",
    "memory, MB",
    "fp32 GFLOP/s",
)


def table(runs: list[dict[str, Any]]) -> str:
    """Rows per seed and opponent, and the ratios that the project promises, as medians over the seeds."""
    lines: list[Sequence[object]] = []
    ratios: dict[str, list[float]] = {}
    for seed in sorted({run["seed"] for run in runs}):
        there = {run["opponent"]: run for run in runs if run["seed"] == seed}
        mine = there["ours"]
        for name, run in ((name, there[name]) for name in OPPONENTS if name in there):
            held = reached(mine, run["best"])
            own = f"{reached(run, run['best']):.0f}", f"{held:.0f}", f"{run['total']:.0f}"
            sizes = f"{run['disk'] / 1e6:.1f}", f"{run['memory'] / 1e6:.0f}", f"{run['peak']:.0f}"
            lines.append((seed, name, f"{run['best']:.4f}", *own, *sizes))
            if name == "ours":
                continue
            ratios.setdefault(f"{name}'s total over the time until ours holds its best", []).append(run["total"] / held)
            ratios.setdefault(f"{name}'s total over our total", []).append(run["total"] / mine["total"])
            ratios.setdefault(f"our best less {name}'s, points", []).append(100 * (mine["best"] - run["best"]))
    medians = (
        f"- {what}: {median(each):.1f} (by seed: {', '.join(f'{one:.1f}' for one in each)})"
        for what, each in ratios.items()
    )
    return "\n".join([markdown(HEADS, lines), "", "Medians over the seeds:", "", *medians])


def asked(about: str, seeds: int, names: Sequence[str], against: str) -> argparse.Namespace:
    """What every measurement on these settings asks: the case, its seeds, which of its names are made, and made again.

    `file` is where its runs are kept, `against` the name without which there is no table. Exits with a clear line where
    the case's data are not there.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("case", nargs="?", default="cpu", choices=SETTINGS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(seeds)))
    parser.add_argument("--only", nargs="+", default=names, choices=names)
    parser.add_argument("--again", nargs="+", default=(), choices=names)
    given = parser.parse_args()
    if not SETTINGS[given.case].source.startswith("builtin:"):
        need()
    given.against = against
    given.file = runs_file(Path(sys.argv[0]).stem, given.case)
    if given.case == "smoke":  # whose runs are never kept: an older checkout may have left some
        given.file.unlink(missing_ok=True)
    return given


def runs_file(measurement: str, case: str) -> Path:
    """Where the runs of a case are kept: in the repository, beside what is only tried."""
    folder = RUNS if case != "smoke" else Path(tempfile.gettempdir()) / "hpo-smoke"
    folder.mkdir(exist_ok=True)
    return folder / f"{measurement}-{case}.jsonl"


def tell(
    given: argparse.Namespace, runs: list[dict[str, Any]], table: Callable[[list[dict[str, Any]]], str], more: str = ""
) -> None:
    """Put a table of runs into RESULTS.md; of a smoke run, only print it."""
    if given.against not in given.only:
        print(f"kept in {given.file}; no table without {given.against}")
    elif given.case == "smoke":
        print(table(runs))
    else:
        record(given.file.stem.replace("-", " "), told(runs) + more, table(runs))


def main() -> None:
    given = asked(__doc__, seeds=3, names=tuple(OPPONENTS), against="ours")
    runs = []
    for seed in given.seeds:
        folder = prepared(given.case, seed)
        for name in given.only:
            which = {"seed": seed, "opponent": name}
            runs.append(kept(given.file, which, partial(measure, name, folder), name in given.again))
    tell(given, runs, table)


if __name__ == "__main__":
    main()
