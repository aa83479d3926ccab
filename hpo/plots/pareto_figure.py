"""Figure of the Pareto front of a study with two objectives."""

from __future__ import annotations

import plotly.graph_objects as go

from hpo.plots.drawing import Drawing
from hpo.plots.style import BLUE, GREY, Mark, apply_style, marker_style, to_float32, to_int32, wrap_label
from hpo.plots.trial_selection import sample_trials, select_complete, value_format
from hpo.results.study_results import StudyResults
from hpo.store.trial_record import TrialRecord

MAX_PARETO_POINTS = 2000  # trials in the figure


def draw_pareto_front(results: StudyResults) -> Drawing | None:
    """Draw the complete trials by both objectives, the Pareto front highlighted; None unless there are two."""
    complete = select_complete(results)
    if len(results.directions) != 2 or not complete:
        return None
    on_front = {trial.number for trial in results.search.best_trials}  # empty if no trial satisfies the constraints
    front = [trial for trial in results.complete if trial.number in on_front]
    sample = sample_trials(results, complete, MAX_PARETO_POINTS)
    others = [trial for trial in sample if trial.number not in on_front]
    figure = go.Figure()
    for name, group, mark, size in (
        ("other trials", others, Mark(GREY, "circle"), 6),
        ("Pareto front", front, Mark(BLUE, "diamond"), 9),
    ):
        figure.add_scatter(
            x=to_float32(trial.values[0] for trial in group),
            y=to_float32(trial.values[1] for trial in group),
            mode="markers",
            marker=marker_style(mark, size),
            name=name,
            customdata=to_int32(trial.number for trial in group),
            hovertemplate="trial %{customdata}: %{x:.5g}, %{y:.5g}<extra></extra>",
        )
    figure.update_xaxes(title_text=f"{wrap_label(results.objectives[0], 30)} ({results.directions[0]})")
    figure.update_yaxes(title_text=f"{wrap_label(results.objectives[1], 30)} ({results.directions[1]})")
    return Drawing(apply_style(figure, 380), _describe_front(results, front, len(complete)))


def _describe_front(results: StudyResults, front: list[TrialRecord], complete: int) -> str:
    count = f"{len(front)} of {complete} complete trials are on the Pareto front"
    if not front:
        return f"{count}."
    ends = [
        f"{name} from {min(values):{value_format(results)}} to {max(values):{value_format(results)}}"
        for name, values in zip(results.objectives, zip(*(trial.values for trial in front), strict=True), strict=True)
    ]
    return f"{count}: {' and '.join(ends)}."
