"""Figures of what the winner is worth: its gain over each baseline, and its generalization gap."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from hpo.evaluation.comparison_result import DifferenceResult, Generalization
from hpo.evaluation.verdict import difference_unit, format_difference
from hpo.plots.drawing import Drawing
from hpo.plots.style import (
    BLUE,
    GREEN,
    GREY,
    MAX_HEIGHT,
    RED,
    Mark,
    apply_style,
    marker_style,
    to_float32,
    to_int32,
    wrap_label,
)
from hpo.results.study_results import StudyResults
from hpo.study.spec_tables import RERUN

# Outcome of a difference -> legend entry and mark.
DIFFERENCE_MARKS = {
    "better": ("winner better", Mark(GREEN, "circle")),
    "none": ("no significant difference", Mark(GREY, "diamond")),
    "worse": ("winner worse", Mark(RED, "x")),
    "untested": ("untested: a single run each", Mark(GREY, "diamond-open")),
    "same": ("same runs", Mark(GREY, "circle-open")),
}


def draw_gains(results: StudyResults) -> Drawing | None:
    """Draw the winner's gain over each baseline with its 95 % interval, the smallest on top; None without baselines."""
    rows = rank_differences(results)
    if not rows:
        return None
    objective = results.spec.objective
    scale = 100 if difference_unit(objective) else 1
    figure = go.Figure()
    for outcome, (name, mark) in DIFFERENCE_MARKS.items():
        group = [(index, row) for index, row in enumerate(rows) if _drawn_outcome(row) == outcome]
        if not group:
            continue
        gain, low, high = (scale * np.array([getattr(row, end) for _, row in group]) for end in _ENDS)
        figure.add_scatter(
            x=to_float32(gain),
            y=to_int32(index for index, _ in group),
            mode="markers",
            name=name,
            marker=marker_style(mark, 11),
            error_x={"array": to_float32(high - gain), "arrayminus": to_float32(gain - low), "color": mark.color},
            text=[_format_gain(row, objective) for _, row in group],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.add_vline(0, line={"color": GREY, "width": 1.5})
    unit = difference_unit(objective).strip()
    title = f"Gain in {objective}{f' ({unit})' if unit else ''}, 95 % confidence interval"
    figure.update_xaxes(title_text=title, zeroline=False)
    _name_rows(figure, [wrap_label(row.against) for row in rows])
    apply_style(figure, min(MAX_HEIGHT, 150 + 34 * len(rows)))
    return Drawing(figure, _describe_gains(results, rows))


_ENDS = ("difference", "low", "high")


def rank_differences(results: StudyResults) -> list[DifferenceResult]:
    """Return the differences to the baselines, the smallest gain first and the rerun of the winner's values last."""
    rows = results.comparison.differences if results.comparison else []
    return sorted(rows, key=lambda row: (row.against == RERUN, row.difference))


def _drawn_outcome(row: DifferenceResult) -> str:
    return "same" if row.same_runs else row.outcome


def _format_gain(row: DifferenceResult, objective: str) -> str:
    """Return a gain with its interval: `over nb-svm: 1.2 points [0.4, 2.0]`."""
    gain, low, high = (format_difference(getattr(row, end), objective) for end in _ENDS)
    return f"over {wrap_label(row.against, 60)}: {gain}{difference_unit(objective)} [{low}, {high}]"


def _describe_gains(results: StudyResults, rows: list[DifferenceResult]) -> str:
    rivals = (results.comparison.rivals if results.comparison else []) or rows
    better = sum(row.outcome == "better" for row in rivals)
    smallest = _format_gain(rivals[0], results.spec.objective)
    return f"The winner is better than {better} of {len(rivals)} baselines; its smallest gain is {smallest}."


def draw_generalization(results: StudyResults) -> Drawing | None:
    """Draw the search's best score and the score of each fresh seed on validation and test; None without final runs."""
    if results.comparison is None:
        return None
    scores, seeds = results.comparison.generalization, results.comparison.winner_system.seeds
    seed_names = [f"seed {seed}" for seed in seeds]
    rows = [("best trial of the search", Mark(BLUE, "diamond"), [scores.search], ["best trial"])]
    if scores.validation:
        rows.append(("fresh seeds, validation", Mark(BLUE, "circle"), scores.validation.values, seed_names))
    rows.append(("fresh seeds, test", Mark(GREEN, "square"), scores.test.values, seed_names))
    figure = go.Figure()
    for index, (name, mark, values, texts) in enumerate(rows):
        figure.add_scatter(
            x=to_float32(values),
            y=to_int32([index] * len(values)),
            mode="markers",
            marker=marker_style(mark, 11),
            name=name,
            text=texts,
            hovertemplate="%{text}: %{x:.4f}<extra></extra>",
        )
        if len(values) > 1:
            figure.add_scatter(
                x=to_float32([np.mean(values)]),
                y=[index],
                mode="markers",
                hovertemplate="mean: %{x:.4f}<extra></extra>",
                marker={"symbol": "line-ns-open", "size": 26, "line_width": 3, "color": mark.color},
            )
    figure.update_xaxes(title_text=results.spec.objective, zeroline=False)
    _name_rows(figure, [wrap_label(name, 14) for name, *_ in rows])
    return Drawing(apply_style(figure, 80 + 60 * len(rows), legend=False), _describe_generalization(scores))


def _describe_generalization(scores: Generalization) -> str:
    means = {"validation": scores.validation, "test": scores.test}
    parts = [f"{summary.mean:.4f} on {split}" for split, summary in means.items() if summary]
    return (
        f"The best trial of the search scores {scores.search:.4f}; fresh seeds score {' and '.join(parts)} on average."
    )


def _name_rows(figure: go.Figure, names: list[str]) -> None:
    """Label horizontal rows, the first on top."""
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=names,
        showgrid=False,
        range=[len(names) - 0.5, -0.5],
        zeroline=False,
    )
