"""The dry run on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.results.formatting import format_cost, format_duration, format_size
from hpo.search.search_listener import SearchListener
from hpo.study.spec import StudySpec
from hpo.terminal.console import print_line
from hpo.terminal.progress import LiveLine

if TYPE_CHECKING:
    from hpo.search.estimate import Estimate

TIMING = "timing a few steps ..."


class EstimateProgress(LiveLine, SearchListener):
    """A live line for the steps that are being timed."""

    def step(self, step: int, steps: int, loss: float | None) -> None:
        """Show how many steps are done."""
        if self.heading != TIMING:
            self.set_heading(TIMING)
        self.set_detail(f"{step} done")


def print_estimate(estimate: Estimate, spec: StudySpec) -> None:
    """Print trials, time, memory and disk use, the smallest gain that can be found, and notes."""
    from hpo.results.smallest_gain import describe_smallest_gain  # imports scipy, which takes a while

    seconds = estimate.trial_seconds
    span = f"{format_cost(seconds.shortest)} (shortest) to {format_cost(seconds.longest)} (longest)"
    fitting = estimate.trials_in_timeout
    timeout = "" if fitting is None else f"; about {fitting} full trials fit into the timeout"
    print_line(f"{estimate.study}: {estimate.trials_left} of {estimate.trials_wanted} trials left to run")
    print_line(f"full trial: typically {format_cost(seconds.typical)}, from {span}")
    print_line(
        f"whole search: {format_duration(estimate.search_seconds)} without pruning, of which "
        f"{format_cost(estimate.loading_seconds)} for loading; pruning usually shortens this{timeout}"
    )
    print_line(
        f"memory: {format_size(estimate.memory_bytes)} at the peak, "
        f"with batches of {estimate.memory_rows} x {estimate.memory_tokens} tokens"
    )
    print_line(
        f"disk: {format_size(estimate.model_bytes)} for the best model, {format_size(estimate.store_bytes)} "
        "in the store"
    )
    print_line(f"timed for {format_duration(estimate.timed_seconds)} on {estimate.device}")
    if gain := describe_smallest_gain(spec, estimate.test_rows, seconds.typical):
        print_line(gain)
    for note in estimate.notes:
        print_line(f"note: {note}")
    print_line("nothing was written; run the same command without --dry-run to start the search")
