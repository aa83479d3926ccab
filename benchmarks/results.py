"""Write measured tables into benchmarks/RESULTS.md, and keep long runs in benchmarks/runs/."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from hpo.store.provenance import describe_device, installed_versions

RESULTS = Path(__file__).with_name("RESULTS.md")
RUNS = Path(__file__).with_name("runs")
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
MEASURED = ("hpo", "search_spaces", "benchmarks/*.py")  # what a run depends on


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def write_table(name: str, seeds: str, table: str) -> None:
    """Print a table and replace its last version in RESULTS.md, with command, machine, versions, seeds and date."""
    program = Path(sys.argv[0])
    module = program.parent.name if program.stem == "__main__" else program.stem
    command = " ".join(["python -m", f"benchmarks.{module}", *sys.argv[1:]])
    installed = ", ".join(f"{package} {version}" for package, version in installed_versions().items())
    device = ", ".join([describe_device(), *find_instruction_sets()])
    text = f"`{command}` · {date.today()} · {device} · {installed} · {seeds}\n\n{table}"
    block = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", re.DOTALL)
    print(text)
    written, count = block.subn(lambda match: match[1] + text + match[2], RESULTS.read_text("utf8"))
    if count != 1:
        raise SystemExit(f"{RESULTS}: no markers of {name}; add <!-- {name} -->, an empty line, <!-- end of {name} -->")
    RESULTS.write_text(written, encoding="utf8")


def find_instruction_sets() -> list[str]:
    """Return the instruction sets of the CPU that decide how fast it computes; none if the system does not tell."""
    information = Path("/proc/cpuinfo")
    flags = set(information.read_text("utf8").split()) if information.exists() else set()
    return [name for name in INSTRUCTION_SETS if name in flags]


def read_runs(file: Path) -> list[dict[str, Any]]:
    """Read the runs in a file, one per line; none if the file does not exist."""
    return [json.loads(line) for line in file.read_text("utf8").splitlines()] if file.exists() else []


def load_or_run(
    file: Path, key: Mapping[str, Any], run: Callable[[], Mapping[str, Any]], again: bool = False
) -> dict[str, Any]:
    """Return the last run in a file that has the values of `key`; if there is none, run it and add it to the file."""
    stored = [result for result in read_runs(file) if key.items() <= result.items()]
    if stored and not again:
        return stored[-1]
    result = {**key, **run_origin(), **run()}
    with file.open("a", encoding="utf8") as lines:
        lines.write(json.dumps(result) + "\n")
    described = ", ".join(f"{name} {value}" for name, value in key.items() if not isinstance(value, Mapping))
    print(f"{file.stem}: {described}: done", file=sys.stderr, flush=True)
    return result


def run_origin() -> dict[str, Any]:
    """Return the day and the commit of what a run measures, to be stored with it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(RESULTS.parents[1]), *arguments], capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", *MEASURED)
    return {"day": str(date.today()), "commit": git("rev-parse", "--short=7", "HEAD") + "+" * bool(changed)}


def describe_runs(runs: Iterable[Mapping[str, Any]]) -> str:
    """Return the seeds of stored runs, their days and their commits as text."""
    runs = list(runs)
    keys = {key: sorted({str(run[key]) for run in runs}) for key in ("seed", "day", "commit")}
    return "; ".join(f"{key}s {', '.join(values)}" for key, values in keys.items())
