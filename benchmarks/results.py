"""One place for every measured table, benchmarks/RESULTS.md, and for the runs that take long: benchmarks/runs/."""

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
MEASURED = ("hpo", "search_spaces", "benchmarks/*.py")  # what a run hangs on


def markdown(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def record(name: str, seeds: str, table: str) -> None:
    """Put a table, with its command, machine, versions, seeds and date, in the place of its last one; print it too."""
    command = " ".join(["python -m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    installed = ", ".join(f"{package} {version}" for package, version in installed_versions().items())
    text = f"`{command}` · {date.today()} · {describe_device()} · {installed} · {seeds}\n\n{table}"
    block = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", re.DOTALL)
    print(text)
    written, count = block.subn(lambda found: found[1] + text + found[2], RESULTS.read_text("utf8"))
    if count != 1:
        raise SystemExit(
            f"{RESULTS}: no place for {name}; make one: <!-- {name} -->, an empty line, <!-- end of {name} -->"
        )
    RESULTS.write_text(written, encoding="utf8")


def runs_in(file: Path) -> list[dict[str, Any]]:
    """The runs that a file keeps, one a line; none where there is no file yet."""
    return [json.loads(line) for line in file.read_text("utf8").splitlines()] if file.exists() else []


def kept(
    file: Path, which: Mapping[str, Any], make: Callable[[], Mapping[str, Any]], again: bool = False
) -> dict[str, Any]:
    """The last run in a file that has what `which` says; where there is none it is made, and added."""
    there = [run for run in runs_in(file) if which.items() <= run.items()]
    if there and not again:
        return there[-1]
    run = {**which, **made(), **make()}
    with file.open("a", encoding="utf8") as lines_of:
        lines_of.write(json.dumps(run) + "\n")
    told = ", ".join(f"{name} {value}" for name, value in which.items() if not isinstance(value, Mapping))
    print(f"{file.stem}: {told}: done", file=sys.stderr, flush=True)
    return run


def made() -> dict[str, Any]:
    """What a run that is kept for a later table says of itself: the day, and the commit of what it measures."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(RESULTS.parents[1]), *words], capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", *MEASURED)
    return {"day": str(date.today()), "commit": git("rev-parse", "--short=7", "HEAD") + "+" * bool(changed)}


def told(runs: Iterable[Mapping[str, Any]]) -> str:
    """The seeds of kept runs, and when and from which code they were made."""
    runs = list(runs)
    kinds = {what: sorted({str(run[what]) for run in runs}) for what in ("seed", "day", "commit")}
    return "; ".join(f"{what}s {', '.join(values)}" for what, values in kinds.items())
