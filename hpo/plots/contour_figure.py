"""Figure of a contour: the objective over two numeric parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from hpo.plots.drawing import Drawing, describe_params
from hpo.plots.parameter_axes import ParameterAxis, searched_axes
from hpo.plots.parameter_importance import importance
from hpo.plots.style import (
    COLOR_SCALE,
    GREY,
    Array,
    apply_style,
    color_bar,
    to_float32,
    to_int32,
    wrap_label,
)
from hpo.plots.trial_selection import objective_sign, rank_complete, sample_trials, value_format
from hpo.results.study_results import StudyResults
from hpo.store.trial_record import TrialRecord

MAX_CONTOUR_POINTS = 1000  # trials in the figure
MIN_TRIALS = 10  # fewer trials have points but no contour
GRID_POINTS = 40  # of the contour, along each axis
MIN_WEIGHT = 0.15  # kernel weight below which a grid point is left empty: no trial is near


def draw_contour(results: StudyResults) -> Drawing | None:
    """Draw the complete trials over two numeric parameters, colored by value, on a contour if they are ten or more.

    None for fewer than two such parameters or trials, and for several objectives.
    """
    axes = _choose_axes(results)
    ranked = [trial for trial in rank_complete(results) if all(axis.name in trial.params for axis in axes)]
    if len(axes) < 2 or len(ranked) < 2:
        return None
    sign = objective_sign(results)
    trials = sorted(sample_trials(results, ranked, MAX_CONTOUR_POINTS), key=lambda trial: -sign * (trial.value or 0.0))
    values = np.array([trial.value for trial in trials])
    colors = _color_options(results, values)
    figure = go.Figure()
    if len(trials) >= MIN_TRIALS and values.min() < values.max():
        _add_contour(figure, axes, trials, values, colors)
    marker = {"size": 9, "line": {"color": GREY, "width": 1}, "color": to_float32(values), **colors}
    hover = f"trial %{{customdata}}: %{{text:{value_format(results)}}}<br>%{{x:.3g}}, %{{y:.3g}}<extra></extra>"
    figure.add_scatter(
        x=to_float32(axes[0].position(trial) for trial in trials),
        y=to_float32(axes[1].position(trial) for trial in trials),
        mode="markers",
        marker=marker,
        customdata=to_int32(trial.number for trial in trials),
        text=to_float32(values),
        hovertemplate=hover,
    )
    figure.update_xaxes(**axes[0].axis_options())
    figure.update_yaxes(**axes[1].axis_options())
    return Drawing(apply_style(figure, 400, legend=False), _describe_best(results, axes, ranked[-1]))


def _choose_axes(results: StudyResults) -> list[ParameterAxis]:
    """Return learning rate and warmup, else the two most important numeric parameters; fewer if there are not two."""
    ranges = {axis.name: axis for axis in searched_axes(results) if not axis.choices}
    for warmup in ("warmup_ratio", "warmup_steps"):
        if "learning_rate" in ranges and warmup in ranges:
            return [ranges["learning_rate"], ranges[warmup]]
    if len(ranges) <= 2:
        return list(ranges.values())
    shares = importance(results)
    return sorted(ranges.values(), key=lambda axis: -shares.get(axis.name, 0.0))[:2]


def _add_contour(
    figure: go.Figure, axes: list[ParameterAxis], trials: list[TrialRecord], values: Array, colors: dict[str, Any]
) -> None:
    """Add the smoothed objective as filled contour lines behind the points, in the same colors."""
    grid = np.linspace(0, 1, GRID_POINTS)
    positions = np.array([[axis.unit_position(trial) for axis in axes] for trial in trials])
    figure.add_contour(
        x=to_float32(axes[0].from_unit(grid)),
        y=to_float32(axes[1].from_unit(grid)),
        z=kernel_regression(positions, values, grid).astype(np.float32),
        hoverinfo="skip",
        line_width=0.5,
        opacity=0.7,
        ncontours=12,
        zmin=colors["cmin"],
        zmax=colors["cmax"],
        colorscale=COLOR_SCALE,
        reversescale=colors["reversescale"],
        showscale=False,
    )


def kernel_regression(positions: Array, values: Array, grid: Array) -> Array:
    """Return the weighted mean value of the trials around each point of a grid (Nadaraya 1964, Watson 1964).

    `positions` (n, 2) are in the unit square, `values` are (n,), and `grid` (g,) serves both axes. The result is
    (g, g), rows along the second axis, with NaN where no trial is near.
    """
    # Scott's rule (1992), bounded: clustered trials would give a contour of spikes, spread ones a flat contour.
    width = np.clip(positions.std(axis=0) * len(positions) ** (-1 / 6), 0.05, 0.2)
    kernels = [np.exp(-0.5 * ((grid[:, None] - positions[:, axis]) / width[axis]) ** 2) for axis in (0, 1)]
    weights = kernels[1] @ kernels[0].T
    sums = (kernels[1] * values) @ kernels[0].T
    return np.where(weights > MIN_WEIGHT, sums / np.maximum(weights, MIN_WEIGHT), np.nan)


def _color_options(results: StudyResults, values: Array) -> dict[str, Any]:
    """Return plotly's color options: better is brighter.

    The worst tenth shares the darkest color, because a few failures would otherwise take most of the scale.
    """
    is_minimized = objective_sign(results) > 0
    low, high = values.min(), values.max()
    if len(values) >= MIN_TRIALS:
        low, high = (low, np.quantile(values, 0.9)) if is_minimized else (np.quantile(values, 0.1), high)
    ticks = np.linspace(low, high, 4)
    texts = [f"{tick:{value_format(results)}}" for tick in ticks]
    worst = -1 if is_minimized else 0
    if (values > high).any() or (values < low).any():
        texts[worst] = ("≥ " if is_minimized else "≤ ") + texts[worst]
    bar = color_bar(wrap_label(results.objectives[0], 12), tickvals=list(map(float, ticks)), ticktext=texts)
    return {
        "cmin": float(low),
        "cmax": float(high),
        "colorscale": COLOR_SCALE,
        "reversescale": is_minimized,
        "colorbar": bar,
    }


def _describe_best(results: StudyResults, axes: list[ParameterAxis], best: TrialRecord) -> str:
    value = f"{best.values[0]:{value_format(results)}}"
    position = describe_params(best, [axis.name for axis in axes])
    return f"The best {results.objectives[0]}, {value}, is at {position}."
