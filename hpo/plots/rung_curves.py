"""Figure of the learning curves: each trial's value at its rungs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from hpo.plots.drawing import Drawing, describe_change, describe_outcomes
from hpo.plots.style import (
    OUTCOME_MARKS,
    Array,
    Mark,
    apply_style,
    constant_axis_range,
    marker_style,
    outcome_mark,
    to_float32,
    to_int32,
    wrap_label,
)
from hpo.plots.trial_selection import group_by_outcome, sample_trials, select_with_rungs, value_format
from hpo.results.study_results import StudyResults
from hpo.store.trial_record import TrialRecord
from hpo.study.spec_tables import EveryExamples

MAX_CURVES = 300  # trials in the figure
MAX_CURVE_POINTS = 40  # rungs of one trial


@dataclass(frozen=True)
class _CurveGroup:
    """Curves that share a legend entry and a look."""

    name: str
    trials: list[TrialRecord]
    mark: Mark
    is_best: bool = False


def draw_rung_curves(results: StudyResults) -> Drawing | None:
    """Draw each trial's value at its rungs, the best trial in bold; None if no trial reported a value."""
    trials = sample_trials(results, select_with_rungs(results), MAX_CURVES)
    if not trials:
        return None
    factor, title = _rung_axis(results)
    best = results.best.number if results.best else None
    groups = [
        _CurveGroup(outcome, [trial for trial in group if trial.number != best], outcome_mark(outcome))
        for outcome, group in reversed(group_by_outcome(trials).items())
    ]
    best_trials = [trial for trial in trials if trial.number == best]
    groups.append(_CurveGroup(f"best, trial {best}", best_trials, OUTCOME_MARKS["complete"], is_best=True))
    figure = go.Figure()
    for group in groups:
        if group.trials:
            _add_curves(figure, group, factor, value_format(results))
    figure.update_layout(legend_traceorder="reversed")
    figure.update_xaxes(title_text=title, rangemode="tozero", tickformat=".0%" if factor != 1 else None)
    axis_range = constant_axis_range(value for trial in trials for value in trial.rungs.values())
    figure.update_yaxes(title_text=wrap_label(results.objectives[0], 30), range=axis_range)
    return Drawing(apply_style(figure, 380), _describe_curves(results))


def _add_curves(figure: go.Figure, group: _CurveGroup, factor: float, number_format: str) -> None:
    """Add the curves of a group as one trace with gaps, and a marker at the end of each.

    One trace per trial would make the page large and slow; a trace breaks its line at NaN.
    """
    curves = [_thin_curve(trial) for trial in group.trials]
    x, y = (np.concatenate([np.append(curve[axis], np.nan) for curve in curves]) for axis in (0, 1))
    figure.add_scatter(
        x=to_float32(x * factor),
        y=to_float32(y),
        mode="lines",
        line={"color": group.mark.color, "width": 4 if group.is_best else 1, "dash": group.mark.dash},
        opacity=1.0 if group.is_best else 0.5,
        legendgroup=group.name,
        showlegend=False,
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=to_float32(curve[0, -1] * factor for curve in curves),
        y=to_float32(curve[1, -1] for curve in curves),
        mode="markers",
        marker=marker_style(group.mark, 11 if group.is_best else 6),
        name=wrap_label(group.name, 40),
        legendgroup=group.name,
        customdata=to_int32(trial.number for trial in group.trials),
        hovertemplate=f"trial %{{customdata}}: %{{y:{number_format}}}<br>at %{{x}}<extra></extra>",
    )


def _thin_curve(trial: TrialRecord) -> Array:
    """Return a trial's rungs and values (2, n), evenly thinned to MAX_CURVE_POINTS; both ends are kept."""
    rungs = sorted(rung for rung, value in trial.rungs.items() if np.isfinite(value))
    kept = [rungs[index] for index in np.unique(np.linspace(0, len(rungs) - 1, MAX_CURVE_POINTS).round().astype(int))]
    return np.array([kept, [trial.rungs[rung] for rung in kept]])


def _rung_axis(results: StudyResults) -> tuple[float, str]:
    """Return the factor from rungs to the unit of the axis, and the axis title."""
    if not results.is_ours:
        return 1, "Step, as reported"
    if isinstance(results.spec.search.rungs, EveryExamples):
        return 1, "Training examples seen"
    return 0.001, "Share of the trial's own schedule"  # stored in thousandths


def _describe_curves(results: StudyResults) -> str:
    text = f"The values of {describe_outcomes(select_with_rungs(results))} at their rungs"
    best = results.best
    if best is None or not best.rungs:
        return f"{text}."
    values = [best.rungs[rung] for rung in sorted(best.rungs)]
    return f"{text}; the best, trial {best.number}, {describe_change(values[0], values[-1], value_format(results))}."
