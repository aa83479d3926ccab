"""Figures of the search space: what each parameter did, and where good values lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
from optuna.trial import FrozenTrial
from plotly.subplots import make_subplots

from hpo.plots.parameter_axes import ParameterAxis, searched_axes
from hpo.plots.parameter_importance import importance
from hpo.plots.style import (
    BLUE,
    COLOR_SCALE,
    GREY,
    Array,
    apply_style,
    color_bar,
    flat_range,
    floats,
    integers,
    marker,
    outcome_mark,
    wrap_label,
)
from hpo.plots.trial_selection import (
    complete_trials,
    group_by_outcome,
    objective_sign,
    sample_trials,
    trial_value,
    value_format,
)
from hpo.results.study_results import StudyResults

MOST_SLICES, MOST_LINES, MOST_POINTS = 500, 300, 1000  # trials in a figure
BEST_SHARE, MOST_BEST = 0.1, 25  # of the trials, and how many, that are bold lines
BELOW = 84  # pixels below each slice for its choices and its name
ENOUGH = 10  # trials from which on there is a contour
GRID = 40  # points of the contour along each axis


def slices(record: StudyResults) -> go.Figure | None:
    """Each trial's value over each parameter, side by side; None without trials, parameters, or a single objective."""
    found, shown = searched_axes(record), trials_with_values(record)
    if not found or not shown:
        return None
    shown = sample_trials(record, shown, MOST_SLICES)
    columns = min(2, len(found))
    rows = math.ceil(len(found) / columns)
    height = rows * (120 + BELOW) + 60
    figure = make_subplots(
        rows, columns, shared_yaxes=True, horizontal_spacing=0.06, vertical_spacing=BELOW / height if rows > 1 else 0
    )
    heights = flat_range(trial_value(record, trial) for trial in shown)
    for place, axis in enumerate(found):
        row, column = divmod(place, columns)
        for name, group in reversed(group_by_outcome(shown).items()):
            figure.add_trace(_slice(record, axis, name, group, place == 0), row + 1, column + 1)
        figure.update_xaxes(**axis.shown(), row=row + 1, col=column + 1)
        if column == 0:
            figure.update_yaxes(title_text=wrap_label(record.objectives[0], 12), range=heights, row=row + 1, col=1)
    figure.update_layout(legend_traceorder="reversed")
    return apply_style(figure, height)


def _slice(
    record: StudyResults, axis: ParameterAxis, name: str, group: list[FrozenTrial], is_first: bool
) -> go.Scatter:
    at = "" if axis.choices else "<br>at %{x:.3g}"
    return go.Scatter(
        x=floats(axis.place(trial) for trial in group),
        y=floats(trial_value(record, trial) for trial in group),
        mode="markers",
        name=wrap_label(name, 40),
        legendgroup=name,
        showlegend=is_first,
        marker=marker(outcome_mark(name), 5),
        customdata=integers(trial.number for trial in group),
        hovertemplate=f"trial %{{customdata}}: %{{y:{value_format(record)}}}{at}<extra></extra>",
    )


def trials_with_values(record: StudyResults) -> list[FrozenTrial]:
    """The trials that have a value and parameters, where there is one objective."""
    if len(record.directions) > 1:
        return []
    return [trial for trial in record.trials if trial.params and trial_value(record, trial) is not None]


def ranked_complete(record: StudyResults) -> list[FrozenTrial]:
    """The complete trials, the best one last, the first of equals; none where there are several objectives."""
    if len(record.directions) > 1:
        return []
    return sorted(
        complete_trials(record), key=lambda trial: (-objective_sign(record) * (trial.value or 0.0), -trial.number)
    )


def parallel(record: StudyResults) -> go.Figure | None:
    """Each complete trial as a line down through its values, the best bold; None for fewer than two parameters.

    Parameters lie below one another, as a phone has no room for them side by side.
    """
    found, trials = searched_axes(record), ranked_complete(record)
    if len(found) < 2 or len(trials) < 2:
        return None
    best = best_few(trials)
    chosen = {trial.number for trial in best}
    others = [trial for trial in sample_trials(record, trials, MOST_LINES) if trial.number not in chosen]
    figure, rows = go.Figure(), np.arange(len(found), dtype=np.int16)
    for name, group, color, width in (("other complete trials", others, GREY, 1), (f"best {len(best)}", best, BLUE, 2)):
        lines = [[*(axis.unit(trial) for axis in found), math.nan] for trial in group]
        figure.add_scatter(
            x=floats(np.ravel(lines)),
            y=np.tile(np.append(rows, rows[-1]), len(lines)),
            mode="lines",
            name=name,
            line={"color": color, "width": width},
            opacity=0.4 if group is others else 0.9,
            hoverinfo="skip",
        )
    for row, axis in enumerate(found):
        texts = axis.choices or [f"{end:.4g}" for end in axis.ends]
        sides = ["bottom right", *["bottom center"] * (len(texts) - 2), "bottom left"]
        figure.add_scatter(
            x=floats(np.linspace(0, 1, len(texts))),
            y=[row] * len(texts),
            mode="text",
            textposition=sides,
            text=[wrap_label(text, max(4, 30 // len(texts)), 1) for text in texts],
            showlegend=False,
            hoverinfo="skip",
        )
    names = [wrap_label(axis.name) for axis in found]
    figure.update_xaxes(visible=False, range=[-0.02, 1.02])
    figure.update_yaxes(tickvals=rows, ticktext=names, zeroline=False, range=[len(found) - 0.5, -0.3])
    return apply_style(figure, 90 + 50 * len(found))


def best_few(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The best tenth of trials that come with the worst first: one at least, and no more than can be told apart."""
    return trials[-min(MOST_BEST, math.ceil(BEST_SHARE * len(trials))) :]


def contour_axes(record: StudyResults) -> list[ParameterAxis]:
    """Two ranges to look at together: learning rate and warmup, or else those that matter most; fewer where not two."""
    ranges = {axis.name: axis for axis in searched_axes(record) if not axis.choices}
    for warmup in ("warmup_ratio", "warmup_steps"):
        if "learning_rate" in ranges and warmup in ranges:
            return [ranges["learning_rate"], ranges[warmup]]
    if len(ranges) <= 2:
        return list(ranges.values())
    shares = importance(record)
    return sorted(ranges.values(), key=lambda axis: -shares.get(axis.name, 0.0))[:2]


def contour(record: StudyResults) -> go.Figure | None:
    """The two ranges of `pair`, and in them each complete trial, coloured by its value; from ten on with contours.

    None where there are no two ranges, fewer than two trials, or several objectives.
    """
    both = contour_axes(record)
    trials = [trial for trial in ranked_complete(record) if all(axis.name in trial.params for axis in both)]
    if len(both) < 2 or len(trials) < 2:
        return None
    trials = sorted(
        sample_trials(record, trials, MOST_POINTS), key=lambda trial: -objective_sign(record) * (trial.value or 0.0)
    )
    values = np.array([trial.value for trial in trials])
    colors = _colors(record, values)
    figure = go.Figure()
    if len(trials) >= ENOUGH and values.min() < values.max():
        grid = np.linspace(0, 1, GRID)
        ground = kernel_regression(np.array([[axis.unit(trial) for axis in both] for trial in trials]), values, grid)
        x, y = (floats(axis.at(grid)) for axis in both)
        figure.add_contour(
            x=x,
            y=y,
            z=ground.astype(np.float32),
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
    x, y = (floats(axis.place(trial) for trial in trials) for axis in both)
    points = {"size": 9, "line": {"color": GREY, "width": 1}, "color": floats(values), **colors}
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker=points,
        customdata=integers(trial.number for trial in trials),
        text=floats(values),
        hovertemplate=f"trial %{{customdata}}: %{{text:{value_format(record)}}}<br>%{{x:.3g}}, %{{y:.3g}}"
        "<extra></extra>",
    )
    figure.update_xaxes(**both[0].shown())
    figure.update_yaxes(**both[1].shown())
    return apply_style(figure, 400, legend=False)


def kernel_regression(places: Array, values: Array, grid: Array) -> Array:
    """The mean value of the trials around each point of a grid in the unit square (Nadaraya 1964, Watson 1964).

    From places (n, 2) and values (n,) to (rows, columns), second axis by first; not a number where no trial is near.
    """
    width = np.clip(places.std(axis=0) * len(places) ** (-1 / 6), 0.05, 0.2)  # Scott's rule (1992)
    near = [np.exp(-0.5 * ((grid[:, None] - places[:, axis]) / width[axis]) ** 2) for axis in (0, 1)]
    weights = near[1] @ near[0].T
    return np.where(weights > 0.15, ((near[1] * values) @ near[0].T) / np.maximum(weights, 0.15), np.nan)


def _colors(record: StudyResults, values: Array) -> dict[str, Any]:
    """How values become colours: the better the brighter; the worst tenth shares one, as few would take all."""
    is_less_better = objective_sign(record) > 0
    low, high = values.min(), values.max()
    if len(values) >= ENOUGH:
        low, high = (low, np.quantile(values, 0.9)) if is_less_better else (np.quantile(values, 0.1), high)
    ticks = np.linspace(low, high, 4)
    texts = [f"{tick:{value_format(record)}}" for tick in ticks]
    cut = -1 if is_less_better else 0
    if (values > high).any() or (values < low).any():
        texts[cut] = ("≥ " if is_less_better else "≤ ") + texts[cut]
    bar = color_bar(wrap_label(record.objectives[0], 12), tickvals=list(map(float, ticks)), ticktext=texts)
    return {
        "cmin": float(low),
        "cmax": float(high),
        "colorscale": COLOR_SCALE,
        "reversescale": is_less_better,
        "colorbar": bar,
    }
