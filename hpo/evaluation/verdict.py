"""A comparison in sentences that can be quoted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpo.study.spec import RERUN

if TYPE_CHECKING:
    from hpo.evaluation.comparison_result import ComparisonResult, DifferenceResult, SystemResult

MIN_COST_RATIO = 1.5  # a baseline's cost is mentioned if the winner takes at least this many times as long


def describe_difference(difference: DifferenceResult, comparison: ComparisonResult) -> str:
    """Describe the winner against one baseline: `better than recipe by 0.8 points (95 % CI [0.3, 1.3])`."""
    name = difference.against
    if difference.same_runs:
        return f"the search chose the values of {name} itself, so both have the same runs"
    if difference.outcome == "none":
        cost = _relative_cost(comparison.system(name), comparison.winner_system)
        sign = "-" if difference.difference < 0 else "+"
        return f"no significant gain over {name} ({sign}{_size_and_interval(difference, comparison)})" + (
            f", which {cost}" if cost else ""
        )
    return f"{difference.outcome} than {name} by {_size(difference, comparison)} ({_interval(difference, comparison)})"


def describe_comparison(comparison: ComparisonResult) -> str:
    """Describe the whole comparison in one sentence. What the winner does not beat comes first."""
    if not comparison.differences:
        return "no baseline was run, so it is unknown what the search was worth"
    checks = [each for each in comparison.differences if each.against == RERUN]
    baselines = [each for each in comparison.differences if each.against != RERUN]
    if not baselines:  # only the A/A check was run, so its difference is the verdict
        baselines, checks = checks, []
    failures = [
        f"{len(system.failed)} of {len(system.failed) + len(system.runs)} runs of {system.system} failed, left out here"
        for system in comparison.systems
        if system.failed
    ]
    return "; ".join([_describe_baselines(baselines), *(f"A/A check: {each.verdict}" for each in checks), *failures])


def _describe_baselines(differences: Sequence[DifferenceResult]) -> str:
    """Describe the strongest baseline of each outcome in full, and the others by name."""
    hardest_first = sorted(differences, key=lambda each: each.difference)
    worse, even, better = (
        [each for each in hardest_first if each.outcome == outcome and not each.same_runs]
        for outcome in ("worse", "none", "better")
    )
    if len(better) == len(differences) > 1:
        count = "both" if len(better) == 2 else f"all {len(better)}"
        return f"better than {count} baselines; the smallest gain: {better[0].verdict}"
    parts = []
    for group, others in ((worse, "also worse than {}"), (even, "no significant gain over {} either")):
        if group:
            parts.append(group[0].verdict)
        if group[1:]:
            parts.append(others.format(_join_names([each.against for each in group[1:]])))
    parts += [each.verdict for each in differences if each.same_runs]
    if better and not parts:
        return better[0].verdict
    if len(better) == 1:
        parts.append(f"better than {better[0].against}")
    elif better:
        parts.append(f"better than the {len(better)} other baselines")
    return "; ".join(parts)


def format_amount(size: float, objective: str) -> str:
    """Return a difference with its unit: `0.8 points`, or a plain number for a loss."""
    return format_difference(size, objective) + difference_unit(objective)


def difference_unit(objective: str) -> str:
    """Return the unit of an objective's differences: ` points` for shares, nothing for a loss."""
    from hpo.training.metrics import METRICS  # imports scikit-learn, which `hpo show` does without

    unit = METRICS[objective].unit
    return f" {unit}" if unit else ""


def format_difference(value: float, objective: str) -> str:
    """Return a difference in its unit: points (hundredths) for shares, a plain number for a loss."""
    text = f"{100 * value:.1f}" if difference_unit(objective) else f"{value:.4f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _size(difference: DifferenceResult, comparison: ComparisonResult) -> str:
    return format_amount(abs(difference.difference), comparison.objective)


def _interval(difference: DifferenceResult, comparison: ComparisonResult) -> str:
    """Return the interval of the size that the sentence names, with what it does not tell by itself."""
    ends = difference.low, difference.high
    if difference.outcome == "worse":  # the sentence tells by how much the winner is worse
        ends = -difference.high, -difference.low
    low, high = (format_difference(end, comparison.objective) for end in ends)
    notes = [f"95 % CI [{low}, {high}]"]
    # The interval is of this baseline alone. The outcome is corrected for all of them, so the two can disagree.
    if (difference.low > 0 or difference.high < 0) != (difference.outcome != "none"):
        count = len(comparison.differences)
        notes.append(f"p = {difference.p_holm:.2f} corrected for {count} baseline{'s' if count > 1 else ''}")
    if not difference.includes_seeds:
        notes.append("a single seed, so variation between seeds is not included")
    return "; ".join(notes)


def _size_and_interval(difference: DifferenceResult, comparison: ComparisonResult) -> str:
    return f"{_size(difference, comparison)}, {_interval(difference, comparison)}"


def _relative_cost(baseline: SystemResult, winner: SystemResult) -> str:
    """Return a baseline's cost relative to the winner's, if it is lower: `costs 1/400 of the winner's device time`."""
    if baseline.cost_seconds <= 0:
        return "needs no training"
    ratio = winner.cost_seconds / baseline.cost_seconds
    return f"costs 1/{ratio:,.0f} of the winner's device time" if ratio >= MIN_COST_RATIO else ""


def _join_names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
