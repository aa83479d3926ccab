"""Figure of slices: each trial's value over each parameter."""

from __future__ import annotations

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hpo.plots.drawing import Drawing, count_trials, describe_params, join_words
from hpo.plots.parameter_axes import ParameterAxis, searched_axes
from hpo.plots.style import (
    apply_style,
    constant_axis_range,
    marker_style,
    outcome_mark,
    to_float32,
    to_int32,
    wrap_label,
)
from hpo.plots.trial_selection import (
    group_by_outcome,
    read_value,
    sample_trials,
    select_with_params,
    value_format,
)
from hpo.results.study_results import StudyResults
from hpo.store.trial_record import TrialRecord

MAX_SLICE_POINTS = 500  # trials in the figure
MAX_COLUMNS = 2  # side by side on a phone
PLOT_HEIGHT, TICKS_HEIGHT = 120, 84  # pixels of a slice, and below it for its ticks and its title


def draw_slices(results: StudyResults) -> Drawing | None:
    """Draw each trial's value over each parameter.

    None without trials or searched parameters, or with several objectives.
    """
    axes, trials = searched_axes(results), select_with_params(results)
    if not axes or not trials:
        return None
    sample = sample_trials(results, trials, MAX_SLICE_POINTS)
    columns = min(MAX_COLUMNS, len(axes))
    rows = math.ceil(len(axes) / columns)
    height = rows * (PLOT_HEIGHT + TICKS_HEIGHT) + 60
    spacing = TICKS_HEIGHT / height if rows > 1 else 0
    figure = make_subplots(rows, columns, shared_yaxes=True, horizontal_spacing=0.06, vertical_spacing=spacing)
    axis_range = constant_axis_range(read_value(results, trial) for trial in sample)
    for index, axis in enumerate(axes):
        row, column = divmod(index, columns)
        for outcome, group in reversed(group_by_outcome(sample).items()):
            trace = _trace_slice(results, axis, outcome, group).update(showlegend=index == 0)
            figure.add_trace(trace, row + 1, column + 1)
        figure.update_xaxes(**axis.axis_options(), row=row + 1, col=column + 1)
        if column == 0:
            title = wrap_label(results.objectives[0], 12)
            figure.update_yaxes(title_text=title, range=axis_range, row=row + 1, col=1)
    figure.update_layout(legend_traceorder="reversed")
    return Drawing(apply_style(figure, height), _describe_slices(results, axes, len(trials)))


def _trace_slice(results: StudyResults, axis: ParameterAxis, outcome: str, group: list[TrialRecord]) -> go.Scatter:
    """Return the points of the trials with one outcome in one slice."""
    position_text = "" if axis.choices else "<br>at %{x:.3g}"
    return go.Scatter(
        x=to_float32(axis.position(trial) for trial in group),
        y=to_float32(read_value(results, trial) for trial in group),
        mode="markers",
        name=wrap_label(outcome, 40),
        legendgroup=outcome,
        marker=marker_style(outcome_mark(outcome), 5),
        customdata=to_int32(trial.number for trial in group),
        hovertemplate=f"trial %{{customdata}}: %{{y:{value_format(results)}}}{position_text}<extra></extra>",
    )


def _describe_slices(results: StudyResults, axes: list[ParameterAxis], trials: int) -> str:
    names = [axis.name for axis in axes]
    text = f"{count_trials(trials)} by {results.objectives[0]} and {join_words(names)}"
    return (
        f"{text}; the best has {describe_params(results.best, names)}."
        if results.best
        else f"{text}; none is complete."
    )
