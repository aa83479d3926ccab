"""Figures of the report and the dashboard: StudyResults -> a plotly figure with alt text."""

from __future__ import annotations

from collections.abc import Callable

from hpo.plots.calibration_figure import draw_calibration
from hpo.plots.confusion_figure import draw_confusion_matrix
from hpo.plots.contour_figure import draw_contour
from hpo.plots.drawing import Drawing
from hpo.plots.expected_best import draw_expected_best
from hpo.plots.gain_figures import draw_gains, draw_generalization
from hpo.plots.history_figures import draw_history, draw_history_by_time
from hpo.plots.parallel_figure import draw_parallel_coordinates
from hpo.plots.parameter_importance import draw_importances, importance, importance_warning
from hpo.plots.pareto_figure import draw_pareto_front
from hpo.plots.roc_figure import draw_roc_curves
from hpo.plots.rung_curves import draw_rung_curves
from hpo.plots.sampling import sampling_note
from hpo.plots.slice_figure import draw_slices
from hpo.plots.timeline_figure import draw_timeline
from hpo.results.study_results import StudyResults

__all__ = ["FIGURES", "Drawing", "importance", "importance_warning", "sampling_note"]

# In the order of the report. A function returns None if there is nothing to draw.
FIGURES: dict[str, Callable[[StudyResults], Drawing | None]] = {
    "intervals": draw_gains,
    "pareto": draw_pareto_front,
    "history": draw_history,
    "history_by_time": draw_history_by_time,
    "expected_best": draw_expected_best,
    "curves": draw_rung_curves,
    "importances": draw_importances,
    "slices": draw_slices,
    "parallel": draw_parallel_coordinates,
    "contour": draw_contour,
    "timeline": draw_timeline,
    "generalization": draw_generalization,
    "confusion": draw_confusion_matrix,
    "roc": draw_roc_curves,
    "calibration": draw_calibration,
}
