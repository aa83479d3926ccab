"""Measure how early configurations are in their final order: Spearman's rank correlation of each rung with the end."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.results import markdown_table

if TYPE_CHECKING:
    from benchmarks.recorded import Array, Curves

SIZES = (50, 100, 200)  # validation rows
DRAWS = 20  # subsets of each size


def build_rank_tables(curves: Curves) -> str:
    """Return two tables: every rung against the end, and the same with only some validation rows."""
    whole, everyone = curves.accuracy(), np.zeros(len(curves.epochs))
    ends = whole[:, :, -1]
    heads = [
        "rung",
        "one seed",
        "mean over seeds",
        "one seed, equal epochs",
        "mean over seeds, equal epochs",
        "one seed, by loss",
    ]
    lines: list[list[str]] = []
    for index, rung in enumerate(curves.rungs[:-1]):
        both = [correlations(whole[:, :, index], ends, groups) for groups in (everyone, curves.epochs)]
        loss = correlations(-curves.loss[:, :, index], ends, everyone)
        lines.append(_format_cells([rung / 1000, *(number for pair in both for number in pair), loss[0]]))
    sizes = [*SIZES, curves.rows]
    parts = [[curves.accuracy(_draw_rows(curves, size, draw)) for draw in range(DRAWS)] for size in SIZES]
    subset_lines = []
    for index, rung in enumerate(curves.rungs):
        means = [np.mean([correlations(part[:, :, index], ends, everyone)[0] for part in each]) for each in parts]
        subset_lines.append(_format_cells([rung / 1000, *means, correlations(whole[:, :, index], ends, everyone)[0]]))
    subset_heads = ["rung", *(f"{size} rows" for size in sizes)]
    return f"{markdown_table(heads, lines)}\n\n{markdown_table(subset_heads, subset_lines)}"


def correlations(early: Array, end: Array, groups: Array) -> tuple[float, float]:
    """Return Spearman's correlation over configurations within each group; both arrays are configurations x seeds.

    The first number is the mean over single seeds, each with its own end; the second is of the means over seeds. Groups
    are weighted by their sizes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no run is NaN
        means = np.nanmean(early, axis=1), np.nanmean(end, axis=1)
    single = [_within(early[:, seed], end[:, seed], groups) for seed in range(early.shape[1])]
    return float(np.nanmean(single)), _within(*means, groups)


def _within(early: Array, end: Array, groups: Array) -> float:
    from scipy.stats import spearmanr

    is_known = np.isfinite(early) & np.isfinite(end)
    correlated = []
    for group in np.unique(groups[is_known]):
        chosen = is_known & (groups == group)
        if len(set(early[chosen])) > 1 and len(set(end[chosen])) > 1:
            correlated.append((float(spearmanr(early[chosen], end[chosen]).statistic), int(chosen.sum())))
    weight = sum(count for _, count in correlated)
    return sum(value * count for value, count in correlated) / weight if weight else float("nan")


def _draw_rows(curves: Curves, size: int, draw: int) -> Any:
    return np.random.default_rng(draw).permutation(curves.rows)[:size]


def _format_cells(numbers: list[Any]) -> list[str]:
    return [f"{each:.3g}" for each in numbers]
