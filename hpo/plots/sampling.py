"""A note on the figures that draw a sample of the trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hpo.plots.contour_figure import MAX_CONTOUR_POINTS
from hpo.plots.history_figures import MAX_HISTORY_POINTS
from hpo.plots.parallel_figure import MAX_LINES
from hpo.plots.rung_curves import MAX_CURVES
from hpo.plots.slice_figure import MAX_SLICE_POINTS
from hpo.plots.timeline_figure import MAX_BARS
from hpo.plots.trial_selection import (
    ALWAYS_DRAWN,
    rank_complete,
    select_timed,
    select_with_params,
    select_with_rungs,
    select_with_value,
)
from hpo.results.study_results import StudyResults
from hpo.store.trial_record import TrialRecord


@dataclass(frozen=True)
class SampledFigure:
    """A figure that draws at most `limit` of the trials that `select` returns."""

    name: str
    select: Callable[[StudyResults], list[TrialRecord]]
    limit: int


SAMPLED_FIGURES = (
    SampledFigure("values", select_with_value, MAX_HISTORY_POINTS),
    SampledFigure("learning curves", select_with_rungs, MAX_CURVES),
    SampledFigure("slices", select_with_params, MAX_SLICE_POINTS),
    SampledFigure("parallel coordinates", rank_complete, MAX_LINES),
    SampledFigure("contour", rank_complete, MAX_CONTOUR_POINTS),
    SampledFigure("timeline", select_timed, MAX_BARS),
)


def sampling_note(results: StudyResults) -> str:
    """Return which figures draw a sample of the trials, as a sentence; empty if all draw all."""
    counts = [(figure, len(figure.select(results))) for figure in SAMPLED_FIGURES]
    parts = [f"{figure.name} {figure.limit:,} of {count:,}" for figure, count in counts if count > figure.limit]
    if not parts:
        return ""
    return f"These figures draw the {ALWAYS_DRAWN} best trials and a random sample of the others: {', '.join(parts)}."
