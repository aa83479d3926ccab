"""Figure of the timeline: when each trial ran, in a row per worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hpo.plots.drawing import Drawing, describe_outcomes
from hpo.plots.style import (
    GREY,
    MAX_HEIGHT,
    Array,
    apply_style,
    outcome_mark,
    to_float32,
    to_int32,
    wrap_label,
)
from hpo.plots.trial_selection import (
    choose_time_unit,
    compute_time_spans,
    group_by_outcome,
    sample_trials,
    select_timed,
)
from hpo.results.study_results import StudyResults
from hpo.store.trial_record import TrialRecord

MAX_BARS = 2000  # trials in the figure
MAX_NAMED_WORKERS = 16  # with more, rows have no names
MIN_BREAK_SHARE = 0.1  # a break longer than this share of the busy time is left out


def draw_timeline(results: StudyResults) -> Drawing | None:
    """Draw when each trial ran, in a row per worker; None if no times are known.

    Long breaks are left out and marked by dotted lines, so that a study resumed a day later stays readable.
    """
    timed = select_timed(results)
    trials = sample_trials(results, timed, MAX_BARS)
    if not trials:
        return None
    spans = compute_time_spans(results)
    break_starts, without_breaks = _remove_breaks(np.array(list(spans.values())))
    first, last = min(start for start, _ in spans.values()), max(end for _, end in spans.values())
    factor, unit = choose_time_unit(float(without_breaks(last) - first))
    rows = _number_workers(trials)
    figure = go.Figure()
    for outcome, group in group_by_outcome(trials).items():
        group_spans = np.array([spans[trial.number] for trial in group])
        starts, lengths = without_breaks(group_spans[:, 0]) - first, group_spans[:, 1] - group_spans[:, 0]
        worker_rows = [rows[_worker_name(trial)] for trial in group]
        figure.add_bar(
            base=to_float32(starts * factor),
            x=to_float32(lengths * factor),
            y=to_int32(worker_rows),
            **_bar_options(outcome, group, unit),
        )
    for start in break_starts:
        position = float((without_breaks(start) - first) * factor)
        figure.add_vline(position, line={"color": GREY, "dash": "dot", "width": 1})
    title = f"{unit.capitalize()} {'without long breaks' if len(break_starts) else 'since the first trial'}"
    figure.update_xaxes(title_text=title)
    _name_rows(figure, rows)
    figure.update_layout(barmode="overlay")
    apply_style(figure, min(MAX_HEIGHT, 170 + 36 * len(rows)))
    return Drawing(figure, _describe_timeline(timed, sum(end - start for start, end in spans.values())))


def _bar_options(outcome: str, group: list[TrialRecord], unit: str) -> dict[str, Any]:
    mark = outcome_mark(outcome)
    return {
        "orientation": "h",
        "width": 0.75,  # plotly's default depends on which rows an outcome is in
        "name": wrap_label(outcome, 40),
        "customdata": to_int32(trial.number for trial in group),
        "marker": {"color": mark.color, "line_width": 0, "pattern": {"shape": mark.pattern, "size": 5}},
        "hovertemplate": f"trial %{{customdata}}: {wrap_label(outcome, 40)}<br>%{{x:.2f}} {unit}<extra></extra>",
    }


def _name_rows(figure: go.Figure, rows: dict[str, int]) -> None:
    """Label the rows with their workers, if there are few enough."""
    is_named = len(rows) <= MAX_NAMED_WORKERS
    figure.update_yaxes(
        tickvals=list(rows.values()) if is_named else [],
        ticktext=[wrap_label(name, 14) for name in rows],
        title_text=None if is_named else f"{len(rows)} workers",
        autorange="reversed",
        showgrid=False,
    )


def _worker_name(trial: TrialRecord) -> str:
    return f"{trial.worker.host}, process {trial.worker.pid}" if trial.worker else "unknown worker"


def _number_workers(trials: list[TrialRecord]) -> dict[str, int]:
    """Return worker -> its row, in the order of their first trials."""
    return {name: row for row, name in enumerate(dict.fromkeys(map(_worker_name, trials)))}


def _remove_breaks(spans: Array) -> tuple[Array, Callable[[Any], Any]]:
    """Return where long breaks between spans (n, 2) start, and a function that maps times to a clock without them."""
    ordered = spans[np.argsort(spans[:, 0])]
    latest_end = np.maximum.accumulate(ordered[:, 1])  # workers overlap: a break needs all of them idle
    gaps = np.append(ordered[1:, 0] - latest_end[:-1], 0.0).clip(min=0.0)
    busy = latest_end[-1] - ordered[0, 0] - gaps.sum()
    is_break = gaps > MIN_BREAK_SHARE * busy
    starts, removed = latest_end[is_break], np.concatenate([[0.0], np.cumsum(gaps[is_break])])
    return starts, lambda times: times - removed[np.searchsorted(starts, times)]


def _describe_timeline(trials: list[TrialRecord], seconds: float) -> str:
    factor, unit = choose_time_unit(seconds)
    workers = len(_number_workers(trials))
    ran_by = f"run by {workers} worker{'s' * (workers > 1)}"
    return f"{describe_outcomes(trials)}, {ran_by}, in {seconds * factor:.1f} {unit} of device time."
