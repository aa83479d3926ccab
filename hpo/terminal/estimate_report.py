"""What a search will take, in lines for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.results.formatting import format_cost, format_duration
from hpo.search.search_listener import SearchListener
from hpo.terminal.console import print_line
from hpo.terminal.progress import LiveLine

TIMING = "timing a few steps ..."


class EstimateProgress(LiveLine, SearchListener):
    """A live line for the steps that are being timed."""

    def step(self, step: int, steps: int, loss: float | None) -> None:
        """How many are done."""
        if self.heading != TIMING:
            self.set_heading(TIMING)
        self.set_detail(f"{step} done")


def print_estimate(found: Mapping[str, Any]) -> None:
    """Trials, seconds, memory and disk, and what to know of them."""
    trials, trial = found["trials"], found["full_trial"]
    print_line(
        f"{found['study']}: {trials['left']} of {trials['wanted']} trials to run: {found['steps']:,} steps, "
        f"{found['examples']:,} examples, {found['tokens']:,} tokens if none is pruned"
    )
    parts = ", ".join(f"{name} {format_cost(trial[name])}" for name in ("training", "evaluation"))
    ends = "" if trials["left"] < 2 else f", from {format_cost(trial['shortest'])} to {format_cost(trial['longest'])}"
    print_line(f"a full trial: {format_cost(trial['seconds'])} ({parts}){ends}")
    print_line(f"the search: {_search(found['search'])}")
    memory, disk = found["memory"], found["disk"]
    print_line(
        f"memory: {format_bytes(memory['bytes'])} of the {memory['of']}, "
        f"in batches of {memory['rows']} x {memory['tokens']} tokens"
    )
    print_line(f"disk: {format_bytes(disk['model'])} for the best model, {format_bytes(disk['store'])} in the store")
    timed = found["timed"]
    print_line(f"timed on {timed['steps']} steps in {format_duration(timed['seconds'])}, {found['device']}")
    for note in found["notes"]:
        print_line(f"note: {note}")
    print_line("nothing was written; the same line without --dry-run starts it")


def format_bytes(size: float) -> str:
    """`0.2 MB`, `96 MB`, `1.3 GB`."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.{0 if size >= 1e7 else 1}f} MB"


def _search(search: Mapping[str, Any]) -> str:
    once = search["loading"] + search["starting"]
    told = f"{format_duration(search['without_pruning'] + once)} without pruning"
    if search["with_pruning"] is not None:
        told += (
            f", about {format_duration(search['with_pruning'] + once)} with {search['pruner']} "
            f"({search['share_run']:.0%} of the steps)"
        )
    told += f", {format_cost(once)} of it to load and start"
    if search["fit"] is not None:
        told += f"; about {search['fit']} of the trials fit into {format_duration(search['timeout'])}"
    return told
