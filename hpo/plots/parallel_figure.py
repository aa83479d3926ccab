"""Figure of parallel coordinates: each complete trial as a line through its parameters."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from hpo.plots.drawing import Drawing, describe_range
from hpo.plots.parameter_axes import ParameterAxis, searched_axes
from hpo.plots.parameter_importance import importance
from hpo.plots.style import BLUE, GREY, apply_style, to_float32, wrap_label
from hpo.plots.trial_selection import rank_complete, sample_trials, select_complete
from hpo.results.study_results import StudyResults
from hpo.store.trial_record import TrialRecord

MAX_LINES = 300  # trials in the figure
BOLD_SHARE, MAX_BOLD = 0.1, 25  # share and number of the best trials that are bold lines


def draw_parallel_coordinates(results: StudyResults) -> Drawing | None:
    """Draw each complete trial as a line through its parameters, the best in bold.

    None for fewer than two parameters or trials. The parameters are rows, because a phone has no room for columns.
    """
    axes, trials = searched_axes(results), rank_complete(results)
    if len(axes) < 2 or len(trials) < 2:
        return None
    best = _select_best(trials)
    best_numbers = {trial.number for trial in best}
    others = [trial for trial in sample_trials(results, trials, MAX_LINES) if trial.number not in best_numbers]
    figure = go.Figure()
    _add_lines(figure, axes, others, "other complete trials", {"line": {"color": GREY, "width": 1}, "opacity": 0.4})
    _add_lines(figure, axes, best, f"best {len(best)}", {"line": {"color": BLUE, "width": 2}, "opacity": 0.9})
    for row, axis in enumerate(axes):
        _add_axis_texts(figure, axis, row)
    names = [wrap_label(axis.name) for axis in axes]
    figure.update_xaxes(visible=False, range=[-0.02, 1.02])
    rows = np.arange(len(axes), dtype=np.int16)
    figure.update_yaxes(tickvals=rows, ticktext=names, zeroline=False, range=[len(axes) - 0.5, -0.3])
    return Drawing(apply_style(figure, 90 + 50 * len(axes)), _describe_best(results, axes, best))


def _add_lines(
    figure: go.Figure, axes: list[ParameterAxis], group: list[TrialRecord], name: str, style: dict[str, object]
) -> None:
    """Add the lines of a group as one trace with gaps: one trace per trial would make the page slow."""
    rows = np.arange(len(axes), dtype=np.int16)
    lines = [[*(axis.unit_position(trial) for axis in axes), math.nan] for trial in group]
    y = np.tile(np.append(rows, rows[-1]), len(lines))
    figure.add_scatter(x=to_float32(np.ravel(lines)), y=y, mode="lines", name=name, hoverinfo="skip", **style)


def _add_axis_texts(figure: go.Figure, axis: ParameterAxis, row: int) -> None:
    """Add the choices of a parameter, or the ends of its range, below its row."""
    texts = axis.choices or [f"{end:.4g}" for end in axis.ends]
    figure.add_scatter(
        x=to_float32(np.linspace(0, 1, len(texts))),
        y=[row] * len(texts),
        mode="text",
        textposition=["bottom right", *["bottom center"] * (len(texts) - 2), "bottom left"],
        text=[wrap_label(text, max(4, 30 // len(texts)), 1) for text in texts],
        showlegend=False,
        hoverinfo="skip",
    )


def _select_best(trials: list[TrialRecord]) -> list[TrialRecord]:
    """Return the best tenth, at least one, of trials ordered from worst to best; few enough to tell lines apart."""
    return trials[-min(MAX_BOLD, math.ceil(BOLD_SHARE * len(trials))) :]


def _describe_best(results: StudyResults, axes: list[ParameterAxis], best: list[TrialRecord]) -> str:
    """Describe in which ranges the best trials have the two most important parameters."""
    ranges = [axis.name for axis in axes if not axis.choices]
    important = [name for name in importance(results) or ranges if name in ranges][:2]
    values = {name: [trial.params[name] for trial in best if name in trial.params] for name in important}
    parts = [f"{name} {describe_range(reached)}" for name, reached in values.items() if reached]
    subject = f"best {len(best)} have" if len(best) > 1 else "best has"
    count = f"{len(select_complete(results)):,}"
    return f"Of {count} complete trials the {subject} {' and '.join(parts) or 'various choices'}."
