"""Every figure that the report and the dashboard show: Record -> plotly's Figure, and a sentence of what it shows."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from hpo.output.plots.final import calibration, confusion, intervals, optimism, roc
from hpo.output.plots.ranking import importance, importance_warning, importances
from hpo.output.plots.search import curves, history, history_by_time, pareto, timeline
from hpo.output.plots.space import contour, parallel, slices
from hpo.output.plots.words import WORDS, shown_trials
from hpo.output.record import Record

__all__ = ["FIGURES", "alt", "importance", "importance_warning", "shown_trials"]

# In the order of the report. Each is None where there is nothing to draw.
FIGURES: dict[str, Callable[[Record], go.Figure | None]] = {
    "intervals": intervals,
    "pareto": pareto,
    "history": history,
    "history_by_time": history_by_time,
    "curves": curves,
    "importances": importances,
    "slices": slices,
    "parallel": parallel,
    "contour": contour,
    "timeline": timeline,
    "optimism": optimism,
    "confusion": confusion,
    "roc": roc,
    "calibration": calibration,
}


def alt(name: str, record: Record) -> str:
    """One sentence of what the figure of that name shows, for a record of which it shows anything."""
    return WORDS[name](record)
