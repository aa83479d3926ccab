"""The comparison in sentences that a person can quote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpo.study.spec import RERUN

_LOSSES = {"log_loss"}  # not shares of anything, so their differences are no points


def describe_difference(row: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The winner against one baseline: `better than recipe by 0.8 points [0.3, 1.3]`."""
    said = _of_one(row, found)
    if (row["low"] > 0 or row["high"] < 0) != (row["outcome"] != "none"):  # the interval knows nothing of the family
        said += f" (p = {row['p_holm']:.2f} over {len(found['differences'])} baselines)"
    return said if row["seeds_are_in_it"] or row["same_runs"] else f"{said} (one seed, so seeds are not in it)"


def _of_one(row: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    name, objective = row["against"], found["objective"]
    if row["same_runs"]:
        return f"the search found {name} itself: the same values, so the same runs"
    interval = f"[{format_difference(row['low'], objective)}, {format_difference(row['high'], objective)}]"
    size = abs(row["difference"])
    if row["outcome"] == "none":
        cost = _cost(found, name)
        sign = "-" if row["difference"] < 0 else "+"
        return f"no significant gain over {name} ({sign}{format_amount(size, objective)} {interval})" + (
            f" {cost}" if cost else ""
        )
    if row["outcome"] == "better":
        return f"better than {name} by {format_amount(size, objective)} {interval}"
    turned = f"[{format_difference(-row['high'], objective)}, {format_difference(-row['low'], objective)}]"
    return f"worse than {name} by {format_amount(size, objective)} {turned}"


def describe_comparison(found: Mapping[str, Any]) -> str:
    """The whole verdict in one sentence: what the winner does not beat comes first."""
    rows = found["differences"]
    if not rows:
        return "no baseline was run, so nothing is known of what the search was worth"
    lost = [
        f"{len(each['failed'])} of {len(each['failed']) + len(each['runs'])} runs of {each['system']} failed, left out"
        for each in found["systems"]
        if each["failed"]
    ]
    rivals = [row for row in rows if row["against"] != RERUN] or rows
    again = [f"A/A check: {row['verdict']}" for row in rows if row not in rivals]
    return "; ".join([_against(rivals), *again, *lost])


def _against(rows: Sequence[Mapping[str, Any]]) -> str:
    """The hardest opponent by name, the others by their number."""
    by_outcome = {
        outcome: sorted(
            (row for row in rows if row["outcome"] == outcome and not row["same_runs"]),
            key=lambda row: float(row["difference"]),
        )
        for outcome in ("worse", "none", "better")
    }
    worse, none, better = by_outcome.values()
    if better and len(better) == len(rows) > 1:
        return f"better than each of the {len(rows)} baselines; the closest: {better[0]['verdict']}"
    parts = []
    for found, more in ((worse, "worse than {} more"), (none, "nor over {} more")):
        if found:
            rest = len(found) - 1
            parts.append(str(found[0]["verdict"]) + (f" ({more.format(rest)})" if rest else ""))
    parts += [str(row["verdict"]) for row in rows if row["same_runs"]]
    if better:
        parts.append(f"better than the other {len(better)}" if parts else str(better[0]["verdict"]))
    return "; ".join(parts)


def format_amount(size: float, objective: str) -> str:
    """A difference with its unit: `0.8 points`, or a plain number for a loss."""
    return format_difference(size, objective) + difference_unit(objective)


def difference_unit(objective: str) -> str:
    """What differences of an objective are counted in: ` points` for shares, nothing for a loss."""
    return "" if objective in _LOSSES else " points"


def format_difference(value: float, objective: str) -> str:
    """A difference as people read it: points (hundredths) for shares, a plain number for a loss."""
    text = f"{value:.4f}" if objective in _LOSSES else f"{100 * value:.1f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _cost(found: Mapping[str, Any], name: str) -> str:
    """What a baseline costs beside the winner, where that is less: `at 1/400 of the cost`."""
    costs = {system["system"]: system["cost_seconds"] for system in found["systems"]}
    if costs[name] <= 0:
        return "that needs no training"
    ratio = costs["winner"] / costs[name]
    return f"at 1/{ratio:,.0f} of the cost" if ratio >= 1.5 else ""
