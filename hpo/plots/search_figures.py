"""Figures of the search: what its trials reached, when, and who ran them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from optuna.trial import FrozenTrial
from plotly.subplots import make_subplots

from hpo.plots.style import (
    BLUE,
    GREY,
    MAX_HEIGHT,
    OUTCOME_MARKS,
    Array,
    Mark,
    apply_style,
    flat_range,
    floats,
    integers,
    marker,
    outcome_mark,
    wrap_label,
)
from hpo.plots.trial_selection import (
    complete_trials,
    finished_trials,
    group_by_outcome,
    improvements,
    improvements_by_time,
    sample_trials,
    time_spans,
    time_unit,
    trial_value,
    trials_with_rungs,
    trials_with_times,
    value_format,
)
from hpo.results.study_results import StudyResults
from hpo.study.spec import EveryExamples

MOST_POINTS, MOST_CURVES = 2000, 300  # trials in a figure
MOST_RUNGS = 40  # points of one trial's curve
MOST_WORKERS = 16  # that are named beside their bars
FRONT, BEATEN = Mark(BLUE, "diamond"), Mark(GREY, "circle")
BREAK = 0.1  # of the time in which trials ran: a longer break is left out of the timeline


def history(record: StudyResults) -> go.Figure | None:
    """Each trial's value by its number with the best so far, in a row per objective; None without any value.

    Pruned and running trials stand at the last value that they reported, trials without one below all others.
    """
    shown = sample_trials(record, finished_trials(record), MOST_POINTS)
    if not shown:
        return None
    rows = len(record.directions)
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for place in range(rows):
        found = [each for each in (trial_value(record, trial, place) for trial in shown) if each is not None]
        below = min(found) - 0.08 * (max(found) - min(found) or abs(max(found)) or 1.0)
        traces = [_dots(record, name, group, place, below) for name, group in reversed(group_by_outcome(shown).items())]
        best = improvements(record, complete_trials(record), lambda trial: trial.number, place)
        if best:
            traces.append(_stairs([(at, trial.values[place]) for at, trial in best], record.trials[-1].number))
        figure.add_traces([trace.update(showlegend=place == 0) for trace in traces], place + 1, 1)
        heights = flat_range(found) if len(found) == len(shown) else None
        figure.update_yaxes(title_text=wrap_label(record.objectives[place], 30), range=heights, row=place + 1, col=1)
    figure.update_layout(legend_traceorder="reversed")  # complete trials come first in it, and lie above the others
    figure.update_xaxes(title_text="Trial", dtick=1 if len(record.trials) <= 10 else None, row=rows, col=1)
    return apply_style(figure, 340 if rows == 1 else MAX_HEIGHT)


def _dots(record: StudyResults, name: str, group: list[FrozenTrial], place: int, below: float) -> go.Scatter:
    values = [trial_value(record, trial, place) for trial in group]
    shown = "" if values.count(None) == len(values) else f"%{{y:{value_format(record)}}}, "
    return go.Scatter(
        x=integers(trial.number for trial in group),
        y=floats(below if each is None else each for each in values),
        mode="markers",
        name=wrap_label(name, 40),
        legendgroup=name,
        marker=marker(outcome_mark(name), 7 if len(group) < 300 else 5),
        hovertemplate=f"trial %{{x}}: {shown}{wrap_label(name, 40)}<extra></extra>",
    )


def _stairs(points: Sequence[tuple[float, float]], end: float) -> go.Scatter:
    """The best so far as a line, which goes on to the end."""
    x, y = zip(*points, (end, points[-1][1]), strict=True)
    line = {"color": BLUE, "width": 2, "shape": "hv"}
    return go.Scatter(x=floats(x), y=floats(y), mode="lines", name="best so far", line=line, hoverinfo="skip")


def history_by_time(record: StudyResults) -> go.Figure | None:
    """The best value so far over the time that all trials together took, each counted at its end.

    None where there are several objectives, or no complete trial, or the times are unknown.
    """
    best, total = improvements_by_time(record)
    if not total or not best:
        return None
    second, unit = time_unit(total)
    points = [(at * second, trial.values[0]) for at, trial in best]
    figure = go.Figure(_stairs(points, total * second))
    figure.add_scatter(
        x=floats(at for at, _ in points),
        y=floats(reached for _, reached in points),
        mode="markers",
        name="a trial better than all before it",
        marker=marker(outcome_mark("complete"), 8),
        customdata=integers(trial.number for _, trial in best),
        hovertemplate=f"trial %{{customdata}}: %{{y:{value_format(record)}}}<br>after %{{x:.2f}} {unit}<extra></extra>",
    )
    figure.update_xaxes(title_text=f"Device time of all trials ({unit})", rangemode="tozero")
    figure.update_yaxes(
        title_text=wrap_label(record.objectives[0], 30), range=flat_range(reached for _, reached in points)
    )
    return apply_style(figure)


def curves(record: StudyResults) -> go.Figure | None:
    """What each trial scored at its rungs, the best one bold; None where no trial reported anything."""
    shown = sample_trials(record, trials_with_rungs(record), MOST_CURVES)
    if not shown:
        return None
    share, title = _schedule(record)
    figure = go.Figure()
    best = record.best.number if record.best else None
    for name, group in reversed(group_by_outcome(shown).items()):
        _add_curves(figure, record, [trial for trial in group if trial.number != best], share, name)
    _add_curves(figure, record, [trial for trial in shown if trial.number == best], share, f"best, trial {best}")
    figure.update_layout(legend_traceorder="reversed")
    figure.update_xaxes(title_text=title, rangemode="tozero", tickformat=".0%" if share != 1 else None)
    heights = flat_range(each for trial in shown for each in trial.intermediate_values.values())
    figure.update_yaxes(title_text=wrap_label(record.objectives[0], 30), range=heights)
    return apply_style(figure, 380)


def _add_curves(figure: go.Figure, record: StudyResults, group: list[FrozenTrial], share: float, name: str) -> None:
    """The curves of a group as one line with gaps, and a marker where each ends."""
    if not group:
        return
    is_best = name.startswith("best, ")
    look = OUTCOME_MARKS["complete"] if is_best else outcome_mark(name)
    points = [_curve(trial) for trial in group]
    x, y = (np.concatenate([np.append(each[axis], np.nan) for each in points]) for axis in (0, 1))
    line = {"color": look.color, "width": 4 if is_best else 1, "dash": look.dash}
    figure.add_scatter(
        x=floats(x * share),
        y=floats(y),
        mode="lines",
        line=line,
        opacity=1.0 if is_best else 0.5,
        legendgroup=name,
        showlegend=False,
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=floats(each[0, -1] * share for each in points),
        y=floats(each[1, -1] for each in points),
        mode="markers",
        marker=marker(look, 11 if is_best else 6),
        name=wrap_label(name, 40),
        legendgroup=name,
        customdata=integers(trial.number for trial in group),
        hovertemplate=f"trial %{{customdata}}: %{{y:{value_format(record)}}}<br>at %{{x}}<extra></extra>",
    )


def _curve(trial: FrozenTrial) -> Array:
    """Rungs and values (2, n) of a trial, thinned where they are many; the last one is always there."""
    rungs = sorted(rung for rung, reached in trial.intermediate_values.items() if np.isfinite(reached))
    kept = [rungs[place] for place in np.unique(np.linspace(0, len(rungs) - 1, MOST_RUNGS).round().astype(int))]
    return np.array([kept, [trial.intermediate_values[rung] for rung in kept]])


def _schedule(record: StudyResults) -> tuple[float, str]:
    """What a rung counts, and the title of an axis of them."""
    if not record.is_ours:
        return 1, "Step, as reported"
    if isinstance(record.spec.search.rungs, EveryExamples):
        return 1, "Training examples seen"
    return 0.001, "Share of the trial's own schedule"


def timeline(record: StudyResults) -> go.Figure | None:
    """When each trial ran, in a row per worker; None where that is unknown. Long breaks are dotted lines."""
    trials = sample_trials(record, trials_with_times(record), MOST_POINTS)
    if not trials:
        return None
    known = time_spans(record)
    cuts, at = _without_breaks(np.array(list(known.values())))
    begun, reached = min(start for start, _ in known.values()), max(end for _, end in known.values())
    second, unit = time_unit(float(at(reached) - begun))
    rows = workers(trials)
    figure = go.Figure()
    for name, group in group_by_outcome(trials).items():
        own = np.array([known[trial.number] for trial in group])
        start, length, look = at(own[:, 0]) - begun, own[:, 1] - own[:, 0], outcome_mark(name)
        figure.add_bar(
            base=floats(start * second),
            x=floats(length * second),
            y=integers(rows[_worker(each)] for each in group),
            orientation="h",
            width=0.75,
            name=wrap_label(name, 40),
            customdata=integers(trial.number for trial in group),
            marker={"color": look.color, "line_width": 0, "pattern": {"shape": look.pattern, "size": 5}},
            hovertemplate=f"trial %{{customdata}}: {wrap_label(name, 40)}<br>%{{x:.2f}} {unit}<extra></extra>",
        )
    for cut in cuts:
        figure.add_vline(float((at(cut) - begun) * second), line={"color": GREY, "dash": "dot", "width": 1})
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(
        title_text=f"{unit.capitalize()}{', breaks left out' if len(cuts) else ' since the first trial'}"
    )
    is_named = len(rows) <= MOST_WORKERS
    figure.update_yaxes(
        tickvals=list(rows.values()) if is_named else [],
        ticktext=[wrap_label(name, 14) for name in rows],
        title_text=None if is_named else f"{len(rows)} workers",
        autorange="reversed",
        showgrid=False,
    )
    return apply_style(figure, min(MAX_HEIGHT, 170 + 36 * len(rows)))


def _worker(trial: FrozenTrial) -> str:
    told = trial.user_attrs.get("worker")
    return f"{told['host']}, process {told['pid']}" if told else "unknown worker"


def workers(trials: list[FrozenTrial]) -> dict[str, int]:
    """Worker -> its row, in the order in which they began."""
    names = dict.fromkeys(_worker(trial) for trial in trials)
    return {name: row for row, name in enumerate(names)}


def _without_breaks(spans: Array) -> tuple[Array, Callable[[Any], Any]]:
    """Where those breaks between spans (n, 2) begin that are long beside all spans, and a clock without them.

    The clock takes a time and takes off all such breaks before it.
    """
    ordered = spans[np.argsort(spans[:, 0])]
    reached = np.maximum.accumulate(ordered[:, 1])
    gaps = np.append(ordered[1:, 0] - reached[:-1], 0.0).clip(min=0.0)
    busy = reached[-1] - ordered[0, 0] - gaps.sum()
    is_break = gaps > BREAK * busy
    begins, lost = reached[is_break], np.concatenate([[0.0], np.cumsum(gaps[is_break])])
    return begins, lambda times: times - lost[np.searchsorted(begins, times)]


def pareto(record: StudyResults) -> go.Figure | None:
    """Complete trials by both objectives, and those that no other beats in both; None but for two objectives."""
    if len(record.directions) != 2 or not complete_trials(record):
        return None
    front = record.search.best_trials  # none where no trial keeps to its constraints
    beaten = {trial.number for trial in complete_trials(record)} - {trial.number for trial in front}
    others = [trial for trial in sample_trials(record, complete_trials(record), MOST_POINTS) if trial.number in beaten]
    figure = go.Figure()
    for name, group, look in (("other trials", others, BEATEN), ("Pareto front", front, FRONT)):
        x, y = (floats(trial.values[place] for trial in group) for place in (0, 1))
        figure.add_scatter(
            x=x,
            y=y,
            mode="markers",
            marker=marker(look, 9 if look is FRONT else 6),
            name=name,
            customdata=integers(trial.number for trial in group),
            hovertemplate="trial %{customdata}: %{x:.5g}, %{y:.5g}<extra></extra>",
        )
    figure.update_xaxes(title_text=f"{wrap_label(record.objectives[0], 30)} ({record.directions[0]})")
    figure.update_yaxes(title_text=f"{wrap_label(record.objectives[1], 30)} ({record.directions[1]})")
    return apply_style(figure, 380)
