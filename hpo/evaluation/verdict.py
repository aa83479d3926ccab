"""A comparison in sentences that can be quoted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpo.study.spec_tables import RERUN

if TYPE_CHECKING:
    from hpo.evaluation.comparison_result import ComparisonResult, DifferenceResult, SystemResult

UNTESTED_REMEDY = "a single run each, and other seeds may reverse it; set final.seeds to 3 or more"


def describe_difference(difference: DifferenceResult, comparison: ComparisonResult) -> str:
    """Describe the winner against one baseline: `better than recipe by 0.8 points (95 % CI [0.3, 1.3])`."""
    name = difference.against
    if difference.same_runs:
        return f"the search chose the values of {name} itself, so both have the same runs"
    if difference.outcome in ("better", "worse"):
        size = format_amount(abs(difference.difference), comparison.objective)
        return f"{difference.outcome} than {name} by {size} ({_interval(difference, comparison)})"
    observed = f"{_signed_size(difference, comparison)}, {_interval(difference, comparison)}"
    if difference.outcome == "untested":
        return f"untested against {name} ({observed}): {UNTESTED_REMEDY}"
    largest = format_amount(difference.high, comparison.objective)
    sentence = f"not better than {name} by more than {largest} ({observed})"
    if difference.is_not_worse(comparison.margin):
        return f"{sentence}, and not worse by more than {format_amount(comparison.margin, comparison.objective)}"
    return sentence


def describe_comparison(comparison: ComparisonResult) -> str:
    """Describe the whole comparison in one sentence. What the winner does not beat comes first."""
    if not comparison.differences:
        return "no baseline was run, so it is unknown what the search was worth"
    checks = [each for each in comparison.differences if each.against == RERUN]
    baselines = [each for each in comparison.differences if each.against != RERUN]
    if not baselines:  # only the A/A check was run, so its difference is the verdict
        baselines, checks = checks, []
    failures = [describe_failures(system) for system in comparison.systems if system.failures and system.failures.count]
    return "; ".join([_describe_baselines(baselines), *(f"A/A check: {each.verdict}" for each in checks), *failures])


def describe_failures(system: SystemResult) -> str:
    """Describe how many runs of a system failed, and how many might: five runs that all work prove little."""
    failures = system.failures
    if failures is None:
        return f"{system.system} has no seed"
    limit = f"{failures.runs} runs cannot exclude a failure rate below {format_percent(failures.rate_below)}"
    if not failures.count:
        return f"no run of {system.system} failed, but {limit}"
    parts = []
    if failures.failed:
        parts.append(f"{failures.failed} of {failures.runs} runs of {system.system} failed and have no score")
    if failures.collapsed:
        without = "" if failures.mean_without is None else f" (mean without them: {failures.mean_without:.4f})"
        count = f"{len(failures.collapsed)} of {failures.runs} runs of {system.system}"
        parts.append(f"{count} predict one class for every text{without}")
    return f"{'; '.join(parts)}; {limit}"


def _describe_baselines(differences: Sequence[DifferenceResult]) -> str:
    """Describe the strongest baseline of each outcome in full, and the others by name."""
    hardest_first = sorted(differences, key=lambda each: each.difference)
    worse, untested, even, better = (
        [each for each in hardest_first if each.outcome == outcome and not each.same_runs]
        for outcome in ("worse", "untested", "none", "better")
    )
    if len(better) == len(differences) > 1:
        count = "both" if len(better) == 2 else f"all {len(better)}"
        return f"better than {count} baselines; the smallest gain: {better[0].verdict}"
    parts = []
    for group, others in (
        (worse, "also worse than {}"),
        (untested, "untested against {} too"),
        (even, "no difference from {} was found either"),
    ):
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


def format_confidence_interval(low: float, high: float, objective: str) -> str:
    """Return `95 % CI [0.3, 1.3]`, in the objective's unit."""
    return f"95 % CI [{format_difference(low, objective)}, {format_difference(high, objective)}]"


def format_percent(share: float) -> str:
    """Return a share as `84 %`."""
    return f"{100 * share:.0f} %"


def _signed_size(difference: DifferenceResult, comparison: ComparisonResult) -> str:
    sign = "-" if difference.difference < 0 else "+"
    return f"{sign}{format_amount(abs(difference.difference), comparison.objective)}"


def _interval(difference: DifferenceResult, comparison: ComparisonResult) -> str:
    """Return the interval of the size that the sentence names, with what it does not tell by itself."""
    ends = difference.low, difference.high
    if difference.outcome == "worse":  # the sentence tells by how much the winner is worse
        ends = -difference.high, -difference.low
    notes = [format_confidence_interval(*ends, comparison.objective)]
    if difference.seed_noise == "unknown":
        notes.append("over test rows only")
    elif difference.seed_noise == "borrowed":
        notes.append("one side has a single run, assumed to vary between seeds as much as the other")
    return "; ".join(notes)


def _join_names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
