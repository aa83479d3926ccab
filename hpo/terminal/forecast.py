"""What a search will take, in lines for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.output.told import shown_cost, shown_time
from hpo.search.listener import Listener
from hpo.terminal.progress import Screen
from hpo.terminal.words import say

TIMING = "timing a few steps ..."


class Timing(Screen, Listener):
    """A live line for the steps that are being timed."""

    def step(self, step: int, steps: int, loss: float | None) -> None:
        """How many are done."""
        if self.above != TIMING:
            self.head(TIMING)
        self.show(f"{step} done")


def print_forecast(found: Mapping[str, Any]) -> None:
    """Trials, seconds, memory and disk, and what to know of them."""
    trials, trial = found["trials"], found["full_trial"]
    say(
        f"{found['study']}: {trials['left']} of {trials['wanted']} trials to run: {found['steps']:,} steps, "
        f"{found['examples']:,} examples, {found['tokens']:,} tokens if none is pruned"
    )
    parts = ", ".join(f"{name} {shown_cost(trial[name])}" for name in ("training", "evaluation"))
    ends = "" if trials["left"] < 2 else f", from {shown_cost(trial['shortest'])} to {shown_cost(trial['longest'])}"
    say(f"a full trial: {shown_cost(trial['seconds'])} ({parts}){ends}")
    say(f"the search: {_search(found['search'])}")
    memory, disk = found["memory"], found["disk"]
    say(
        f"memory: {shown_bytes(memory['bytes'])} of the {memory['of']}, "
        f"in batches of {memory['rows']} x {memory['tokens']} tokens"
    )
    say(f"disk: {shown_bytes(disk['model'])} for the best model, {shown_bytes(disk['store'])} in the store")
    timed = found["timed"]
    say(f"timed on {timed['steps']} steps in {shown_time(timed['seconds'])}, {found['device']}")
    for note in found["notes"]:
        say(f"note: {note}")
    say("nothing was written; the same line without --dry-run starts it")


def shown_bytes(size: float) -> str:
    """`0.2 MB`, `96 MB`, `1.3 GB`."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.{0 if size >= 1e7 else 1}f} MB"


def _search(search: Mapping[str, Any]) -> str:
    once = search["loading"] + search["starting"]
    told = f"{shown_time(search['without_pruning'] + once)} without pruning"
    if search["with_pruning"] is not None:
        told += (
            f", about {shown_time(search['with_pruning'] + once)} with {search['pruner']} "
            f"({search['share_run']:.0%} of the steps)"
        )
    told += f", {shown_cost(once)} of it to load and start"
    if search["fit"] is not None:
        told += f"; about {search['fit']} of the trials fit into {shown_time(search['timeout'])}"
    return told
