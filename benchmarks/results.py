"""One place for every measured table: benchmarks/RESULTS.md."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from hpo.study.provenance import device, git_state, versions

RESULTS = Path(__file__).with_name("RESULTS.md")


def markdown(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def record(name: str, seeds: str, table: str) -> None:
    """Put a table, with its command, machine, versions, seeds and date, in the place of its last one; print it too."""
    command = " ".join(["python -m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    installed = ", ".join(f"{package} {version}" for package, version in versions().items())
    text = f"`{command}` · {date.today()} · {device()} · {installed} · {seeds}\n\n{table}"
    block = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", re.DOTALL)
    print(text)
    written, count = block.subn(lambda found: found[1] + text + found[2], RESULTS.read_text("utf8"))
    if count != 1:
        raise SystemExit(
            f"{RESULTS}: no place for {name}; make one: <!-- {name} -->, an empty line, <!-- end of {name} -->"
        )
    RESULTS.write_text(written, encoding="utf8")


def made() -> dict[str, Any]:
    """What a run that is kept for a later table says of itself: the day and the commit of its code."""
    git = git_state(Path(__file__).parent) or {"commit": "unknown", "dirty": True}
    return {"day": str(date.today()), "commit": git["commit"][:7] + "+" * git["dirty"]}


def told(runs: Iterable[Mapping[str, Any]]) -> str:
    """The seeds of kept runs, and when and from which code they were made."""
    runs = list(runs)
    kinds = {what: sorted({str(run[what]) for run in runs}) for what in ("seed", "day", "commit")}
    return "; ".join(f"{what}s {', '.join(values)}" for what, values in kinds.items())
