"""The comparison of two systems in sentences that can be quoted."""

from __future__ import annotations

from hpo.evaluation.verdict import format_amount, format_difference
from hpo.pairwise.pair_result import PairResult


def describe_pair(result: PairResult) -> str:
    """Say which of two systems is better, or how large a difference is excluded."""
    difference, objective = result.difference, result.objective
    first, second = (system.name for system in result.systems)
    low, high, rows = difference.low, difference.high, f"on these {result.rows:,} test rows"
    if difference.outcome == "worse":
        first, second, low, high = second, first, -high, -low
    size = format_amount(abs(difference.difference), objective)
    interval = f"95 % CI [{format_difference(low, objective)}, {format_difference(high, objective)}]"
    if difference.outcome in ("better", "worse"):
        return f"{first} is better than {second} by {size} ({interval}) {rows}"
    gain, loss = (format_amount(max(0.0, end), objective) for end in (high, -low))
    return (
        f"no difference was found {rows}: {first} is not better than {second} by more than {gain}, and not worse by "
        f"more than {loss} ({interval})"
    )


def describe_scope(result: PairResult) -> str:
    """Say what the comparison is about."""
    if result.covers == "rows":
        return (
            "this compares two systems as they are, on rows like these; it does not say what training either of them "
            "again would give"
        )
    counts = " and ".join(f"{len(system.seeds)} of {system.name}" for system in result.systems)
    borrowed = ""
    if result.difference.seed_noise == "borrowed":
        borrowed = "; a single run is assumed to vary between seeds as much as those of the other system"
    return f"this covers other test rows and other training seeds: it compares all final runs, {counts}{borrowed}"
