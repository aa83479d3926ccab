"""One place for every measured table: benchmarks/RESULTS.md."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from hpo.study.provenance import device, versions

RESULTS = Path(__file__).with_name("RESULTS.md")


def record(name: str, command: str, seeds: str, table: str) -> None:
    """Put a table, with its command, machine, versions, seeds and date, in the place of its last one; print it too."""
    installed = ", ".join(f"{package} {version}" for package, version in versions().items())
    text = f"`{command}` · {date.today()} · {device()} · {installed} · {seeds}\n\n{table}"
    block = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", re.DOTALL)
    RESULTS.write_text(block.sub(lambda found: found[1] + text + found[2], RESULTS.read_text("utf8")), encoding="utf8")
    print(text)
