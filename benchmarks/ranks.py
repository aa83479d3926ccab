"""How early the order of configurations holds: Spearman's rank correlation of each rung with the end."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.results import markdown

if TYPE_CHECKING:
    from benchmarks.recorded import Array, Curves

SIZES = (50, 100, 200)  # validation rows
DRAWS = 20  # subsets of each size


def ranks(curves: Curves) -> str:
    """Two tables: every rung against the end, and the same where only some validation rows are evaluated."""
    whole, everyone = curves.accuracy(), np.zeros(len(curves.epochs))
    ends = whole[:, :, -1]
    heads = ["rung", "one seed", "means", "one seed, equal epochs", "means, equal epochs", "one seed, by loss"]
    lines: list[list[str]] = []
    for place, rung in enumerate(curves.rungs[:-1]):
        both = [correlations(whole[:, :, place], ends, groups) for groups in (everyone, curves.epochs)]
        loss = correlations(-curves.loss[:, :, place], ends, everyone)
        lines.append(_cells([rung / 1000, *(number for pair in both for number in pair), loss[0]]))
    sizes = [*SIZES, curves.rows]
    parts = [[curves.accuracy(_some(curves, size, draw)) for draw in range(DRAWS)] for size in SIZES]
    some = []
    for place, rung in enumerate(curves.rungs):
        found = [np.mean([correlations(part[:, :, place], ends, everyone)[0] for part in each]) for each in parts]
        some.append(_cells([rung / 1000, *found, correlations(whole[:, :, place], ends, everyone)[0]]))
    return f"{markdown(heads, lines)}\n\n{markdown(['rung', *(f'{size} rows' for size in sizes)], some)}"


def correlations(early: Array, end: Array, groups: Array) -> tuple[float, float]:
    """Spearman's correlation over configurations within each group (configurations x seeds both, a group each).

    Of single seeds, each with its own end, their mean; and of the means over seeds. Groups count by their sizes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a configuration that never came so far has no mean
        means = np.nanmean(early, axis=1), np.nanmean(end, axis=1)
    single = [_within(early[:, seed], end[:, seed], groups) for seed in range(early.shape[1])]
    return float(np.nanmean(single)), _within(*means, groups)


def _within(early: Array, end: Array, groups: Array) -> float:
    from scipy.stats import spearmanr

    there = np.isfinite(early) & np.isfinite(end)
    found = []
    for group in np.unique(groups[there]):
        chosen = there & (groups == group)
        if len(set(early[chosen])) > 1 and len(set(end[chosen])) > 1:
            found.append((float(spearmanr(early[chosen], end[chosen]).statistic), int(chosen.sum())))
    weight = sum(count for _, count in found)
    return sum(value * count for value, count in found) / weight if weight else float("nan")


def _some(curves: Curves, size: int, draw: int) -> Any:
    return np.random.default_rng(draw).permutation(curves.rows)[:size]


def _cells(numbers: list[Any]) -> list[str]:
    return [f"{each:.3g}" for each in numbers]
