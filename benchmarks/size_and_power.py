"""Measure how often a verdict calls two equal systems different, and how often it finds a real difference.

    python -m benchmarks.size_and_power [--worlds 1000] [--small]

Each cell has fresh rows and seeds in every simulated world, and all methods of `significance_tests.py` see the same
worlds. Cells in benchmarks/runs/ are not repeated.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from benchmarks.results import RUNS, describe_runs, load_or_run, markdown_table, write_table
from benchmarks.significance_tests import METHODS, RESAMPLES, Decision, measure_as_hpo_0_1
from hpo.evaluation.statistics import paired_difference
from tests.support.simulated_systems import ACCURACY, POWER_CELLS, SIZE_CELLS, Cell

SEED = 1  # of the worlds; the tests use 0
EQUAL_SYSTEMS = [
    *SIZE_CELLS,
    Cell((5, 5), 0.0, 2000),
    Cell((5, 5), 0.01, 2000),
    Cell((2, 2), 0.0, 200, accuracy=0.98),  # the systems differ on fewer than ten rows, so the exact test is used
    *(Cell((5, 1), spread, 2000) for spread in (0.003, 0.02)),
    *(Cell((1, 1), spread, 2000) for spread in (0.003, 0.01, 0.02)),
    Cell((5, 1), 0.003, 2000, is_deterministic=True, failure_rate=0.1),
]
SIZES = sorted(EQUAL_SYSTEMS, key=lambda cell: sorted(cell.seeds), reverse=True)  # cells of few seeds last
POWERS = [cell for cell, _ in POWER_CELLS]


def describe_cell(cell: Cell) -> str:
    """Return what distinguishes a cell from the others."""
    parts = [f"{cell.seeds[0]} v {cell.seeds[1]}{' (deterministic)' * cell.is_deterministic}", f"{cell.rows:,} rows"]
    parts += [f"seed sd {100 * cell.spread:g}"]
    if cell.gap:
        parts.append(f"gap {100 * cell.gap:g}")
    if cell.failure_rate:
        parts.append(f"{cell.failure_rate:.0%} of our runs at chance".replace("%", " %"))
    if cell.accuracy != ACCURACY:
        parts.append(f"accuracy {cell.accuracy:g}")
    return ", ".join(parts)


def measure_cell(cell: Cell, worlds: int) -> dict[str, Any]:
    """Return how often each method calls ours better and worse, and the median widths of the intervals."""
    random = np.random.default_rng(SEED)
    decisions: dict[str, list[Decision]] = {name: [] for name in METHODS}
    half_widths = []
    for world in cell.simulate(worlds, SEED, RESAMPLES):
        for name, decide in METHODS.items():
            decisions[name].append(decide(world, random))
        today = paired_difference(world.resampled, world.ours, world.theirs)
        half_widths.append((today.half_width(), measure_as_hpo_0_1(world).half_width()))
    counts = {name: None if None in made else [made.count(1), made.count(-1)] for name, made in decisions.items()}
    return {"better_and_worse": counts, "half_widths": np.median(half_widths, axis=0).tolist()}


def format_share(count: int, worlds: int) -> str:
    """Return a share in percent with its standard error."""
    share = count / worlds
    return f"{100 * share:.1f} ± {100 * np.sqrt(share * (1 - share) / worlds):.1f}"


def build_tables(sizes: Sequence[dict[str, Any]], powers: Sequence[dict[str, Any]]) -> str:
    """Return the table of equal systems, and that of real differences with the intervals' widths."""

    def format_cells(run: dict[str, Any], sides: slice) -> list[str]:
        counts = run["better_and_worse"].items()
        return [
            ("untested" if name == "hpo" else "-") if count is None else format_share(sum(count[sides]), run["worlds"])
            for name, count in counts
        ]

    names = list(METHODS)
    false_alarms = [[run["cell"], *format_cells(run, slice(2))] for run in sizes]
    found = [
        [run["cell"], *format_cells(run, slice(1)), *(f"± {100 * width:.2f}" for width in run["half_widths"])]
        for run in powers
    ]
    heads = ["found better (%)", *names, "interval of hpo", "interval of hpo 0.1.0"]
    return "\n\n".join(
        [markdown_table(["called better or worse (%)", *names], false_alarms), markdown_table(heads, found)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=1000, help="simulated worlds per cell")
    parser.add_argument("--small", action="store_true", help="ten worlds of some cells; the table is only printed")
    options = parser.parse_args()
    worlds = 10 if options.small else options.worlds
    cells = (SIZES[::5], POWERS[::5]) if options.small else (SIZES, POWERS)
    with tempfile.TemporaryDirectory() as scratch:
        file = (Path(scratch) if options.small else RUNS) / "size_and_power.jsonl"
        sizes, powers = (
            [
                load_or_run(
                    file,
                    {"cell": describe_cell(cell), "seed": SEED, "worlds": worlds},
                    partial(measure_cell, cell, worlds),
                )
                for cell in group
            ]
            for group in cells
        )
    tables = build_tables(sizes, powers)
    if options.small:
        print(tables)
        return
    described = f"scipy {scipy.__version__} · {worlds:,} worlds per cell, {RESAMPLES:,} resamples; "
    described += describe_runs([*sizes, *powers])
    write_table("size_and_power", described, tables)


if __name__ == "__main__":
    main()
