"""Every figure that the report and the dashboard show: Record -> plotly's Figure, and a sentence of what it shows."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from hpo.plots.alt_texts import ALT_TEXTS, sampling_note
from hpo.plots.evaluation_figures import calibration, confusion, generalization, intervals, roc
from hpo.plots.parameter_figures import contour, parallel, slices
from hpo.plots.parameter_importance import importance, importance_warning, importances
from hpo.plots.search_figures import curves, history, history_by_time, pareto, timeline
from hpo.results.study_results import StudyResults

__all__ = ["FIGURES", "alt_text", "importance", "importance_warning", "sampling_note"]

# In the order of the report. Each is None where there is nothing to draw.
FIGURES: dict[str, Callable[[StudyResults], go.Figure | None]] = {
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
    "optimism": generalization,
    "confusion": confusion,
    "roc": roc,
    "calibration": calibration,
}


def alt_text(name: str, record: StudyResults) -> str:
    """One sentence of what the figure of that name shows, for a record of which it shows anything."""
    return ALT_TEXTS[name](record)
