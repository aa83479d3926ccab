"""Figures of the optimization history: each trial's value, and the best value so far over trials and device time."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hpo.plots.drawing import Drawing, count_trials, describe_change, describe_outcomes
from hpo.plots.style import (
    BLUE,
    MAX_HEIGHT,
    apply_style,
    constant_axis_range,
    marker_style,
    outcome_mark,
    to_float32,
    to_int32,
    wrap_label,
)
from hpo.plots.trial_selection import (
    choose_time_unit,
    find_improvements,
    find_improvements_over_time,
    group_by_outcome,
    read_value,
    sample_trials,
    select_complete,
    select_with_value,
    value_format,
)
from hpo.results.study_results import StudyResults
from hpo.store.trial_record import TrialRecord

MAX_HISTORY_POINTS = 2000  # trials in the figure


def draw_history(results: StudyResults) -> Drawing | None:
    """Draw each trial's value by number with the best so far, in a row per objective; None if no trial has a value.

    Pruned and running trials are drawn at their last reported value, trials without any below all others.
    """
    trials = sample_trials(results, select_with_value(results), MAX_HISTORY_POINTS)
    if not trials:
        return None
    rows = len(results.directions)
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for index in range(rows):
        _add_objective(figure, results, trials, index)
    figure.update_layout(legend_traceorder="reversed")  # complete trials are drawn last, on top, and listed first
    figure.update_xaxes(title_text="Trial", dtick=1 if len(results.trials) <= 10 else None, row=rows, col=1)
    return Drawing(apply_style(figure, 340 if rows == 1 else MAX_HEIGHT), _describe_history(results))


def _add_objective(figure: go.Figure, results: StudyResults, trials: list[TrialRecord], index: int) -> None:
    """Add the row of one objective."""
    values = [value for value in (read_value(results, trial, index) for trial in trials) if value is not None]
    below = min(values) - 0.08 * (max(values) - min(values) or abs(max(values)) or 1.0)
    traces = [
        _trace_outcome(results, outcome, group, index, below)
        for outcome, group in reversed(group_by_outcome(trials).items())
    ]
    improvements = find_improvements(results, select_complete(results), lambda trial: trial.number, index)
    if improvements:
        points = [(number, trial.values[index]) for number, trial in improvements]
        traces.append(_trace_best_so_far(points, results.trials[-1].number))
    figure.add_traces([trace.update(showlegend=index == 0) for trace in traces], index + 1, 1)
    axis_range = constant_axis_range(values) if len(values) == len(trials) else None
    figure.update_yaxes(title_text=wrap_label(results.objectives[index], 30), range=axis_range, row=index + 1, col=1)


def _trace_outcome(
    results: StudyResults, outcome: str, group: list[TrialRecord], index: int, below: float
) -> go.Scatter:
    """Return the points of the trials with one outcome; those without a value are at `below`."""
    values = [read_value(results, trial, index) for trial in group]
    value_text = "" if values.count(None) == len(values) else f"%{{y:{value_format(results)}}}, "
    return go.Scatter(
        x=to_int32(trial.number for trial in group),
        y=to_float32(below if value is None else value for value in values),
        mode="markers",
        name=wrap_label(outcome, 40),
        legendgroup=outcome,
        marker=marker_style(outcome_mark(outcome), 7 if len(group) < 300 else 5),
        hovertemplate=f"trial %{{x}}: {value_text}{wrap_label(outcome, 40)}<extra></extra>",
    )


def _trace_best_so_far(points: Sequence[tuple[float, float]], end: float) -> go.Scatter:
    """Return the best value so far as a step line, extended to the end of the axis."""
    x, y = zip(*points, (end, points[-1][1]), strict=True)
    line = {"color": BLUE, "width": 2, "shape": "hv"}
    return go.Scatter(x=to_float32(x), y=to_float32(y), mode="lines", name="best so far", line=line, hoverinfo="skip")


def _describe_history(results: StudyResults) -> str:
    complete = select_complete(results)
    if not complete:
        return f"No trial is complete: {describe_outcomes(select_with_value(results))}."
    parts = []
    for index, name in enumerate(results.objectives):
        improvements = find_improvements(results, complete, lambda trial: trial.number, index)
        first, last = (trial.values[index] for _, trial in (improvements[0], improvements[-1]))
        parts.append(f"best {name} so far {describe_change(first, last, value_format(results))}")
    return f"The {'; the '.join(parts)} over {count_trials(len(results.trials))}."


def draw_history_by_time(results: StudyResults) -> Drawing | None:
    """Draw the best value so far over the device time of all trials.

    None if there are several objectives, no complete trial, or no times.
    """
    improvements, total = find_improvements_over_time(results)
    if not total or not improvements:
        return None
    factor, unit = choose_time_unit(total)
    points = [(seconds * factor, trial.values[0]) for seconds, trial in improvements]
    number_format, name = value_format(results), results.objectives[0]
    figure = go.Figure(_trace_best_so_far(points, total * factor))
    figure.add_scatter(
        x=to_float32(time for time, _ in points),
        y=to_float32(value for _, value in points),
        mode="markers",
        name="improvement",
        marker=marker_style(outcome_mark("complete"), 8),
        customdata=to_int32(trial.number for _, trial in improvements),
        hovertemplate=f"trial %{{customdata}}: %{{y:{number_format}}}<br>after %{{x:.2f}} {unit}<extra></extra>",
    )
    figure.update_xaxes(title_text=f"Device time of all trials ({unit})", rangemode="tozero")
    figure.update_yaxes(title_text=wrap_label(name, 30), range=constant_axis_range(value for _, value in points))
    time, best = points[-1]
    alt = f"The best {name}, {best:{number_format}}, is reached after {time:.1f} of {total * factor:.1f} {unit}."
    return Drawing(apply_style(figure), alt)
