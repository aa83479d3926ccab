"""Kill commands of hpo at random instants, run them to their end, and compare with undisturbed ones.

    python -m benchmarks.kills [--kills 1000] [--small]    until so many kills have hit; cases in benchmarks/runs/ count
    python -m benchmarks.kills --seed 17 [--keep FOLDER]   one case again

A case is one command in a copy of a project: its seed decides which command, how many kills, when, and whether they hit
the command with its workers, the command alone, or one worker. When a kill hits depends on the machine, too. After the
kills, the command is run to its end. Then trials, scores, predictions, verdict, weights and files must equal those of
an undisturbed `python -m hpo`, bit for bit, and nothing may be left over.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.results import RUNS, describe_runs, load_or_run, markdown_table, write_table
from tests.support.kill_cases import COMMANDS, build_references, draw_command, run_case


def summarize(name: str, cases: Sequence[dict[str, Any]]) -> list[object]:
    """Return the row of one command."""
    lost = [steps for case in cases for steps in case["lost_steps"]]
    kills = sum(case["kills"] for case in cases)
    aimed = sum(case["aimed"] for case in cases)
    faulty = sum(bool(case["faults"]) for case in cases)
    work = f"{mean(lost):.1f} / {max(lost)}" if lost else "-"
    return [name, len(cases), kills, aimed, faulty, work]


def build_table(cases: Sequence[dict[str, Any]]) -> str:
    """Return a row per command, and the faults."""
    heads = [
        "command",
        "cases",
        "kills",
        "of these at a write",
        "cases with a fault",
        "steps lost per kill: mean / most",
    ]
    groups = {name: [case for case in cases if case["command"] == name] for name in COMMANDS}
    rows = [summarize(name, group) for name, group in groups.items() if group]
    rows.append(summarize("all", cases))
    faults = [f"- seed {case['seed']}, {case['command']}: {fault}" for case in cases for fault in case["faults"]]
    return "\n".join([markdown_table(heads, rows), *(["", *faults] if faults else [])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, help="run cases until so many kills have hit")
    parser.add_argument("--seed", type=int, help="run this case only, and print it as JSON")
    parser.add_argument("--keep", type=Path, help="folder for the projects, which is kept")
    parser.add_argument("--small", action="store_true", help="six kills; the table is only printed")
    options = parser.parse_args()
    with ExitStack() as stack:
        root = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root.mkdir(parents=True, exist_ok=True)
        names = [draw_command(options.seed).name] if options.seed is not None else list(COMMANDS)
        references = build_references(root, names, as_processes=not options.small)
        if options.seed is not None:
            print(json.dumps(run_case(options.seed, references, root), indent=2))
            return
        file = (root if options.small else RUNS) / "kills.jsonl"
        cases: list[dict[str, Any]] = []
        wanted = 6 if options.small else options.kills
        while sum(case["kills"] for case in cases) < wanted:
            seed = len(cases)
            key = {"command": draw_command(seed).name, "seed": seed}
            cases.append(load_or_run(file, key, partial(run_case, seed, references, root)))
            for fault in cases[-1]["faults"]:
                print(f"seed {seed}: {fault}", file=sys.stderr, flush=True)
        table = build_table(cases)
        if options.small:
            print(table)
        else:
            write_table("kills", describe_runs(cases), table)


if __name__ == "__main__":
    main()
