"""Figure of the ROC curves on the test split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas
import plotly.graph_objects as go
from sklearn.metrics import auc, roc_curve

from hpo.escaping import escape_controls
from hpo.plots.drawing import Drawing, join_words
from hpo.plots.style import (
    BLUE,
    GREEN,
    MAX_HEIGHT,
    PURPLE,
    RED,
    Array,
    apply_style,
    diagonal_line,
    to_float32,
    wrap_label,
)
from hpo.results.study_results import StudyResults

MAX_ROC_CURVES, MAX_ROC_POINTS = 6, 200


@dataclass(frozen=True)
class RocCurve:
    """An ROC curve and the area under it."""

    name: str
    area: float
    false_positive_rate: Array
    true_positive_rate: Array


def draw_roc_curves(results: StudyResults) -> Drawing | None:
    """Draw the ROC curves of the deployed run; None without final runs, or if the test split has only one label.

    With two classes the hardest baseline is drawn too, with more each class against the rest: of more than six
    classes, the six with the smallest areas.
    """
    curves = _compute_curves(results)
    if not curves:
        return None
    figure = go.Figure()
    figure.add_scatter(**diagonal_line())
    for index, curve in enumerate(curves):
        color, dash = (BLUE, RED, GREEN, PURPLE)[index % 4], ("solid", "dash", "dot")[index // 4]
        points = np.unique(np.linspace(0, len(curve.false_positive_rate) - 1, MAX_ROC_POINTS).round().astype(int))
        name = wrap_label(curve.name, 24)
        figure.add_scatter(
            x=to_float32(curve.false_positive_rate[points]),
            y=to_float32(curve.true_positive_rate[points]),
            mode="lines",
            line={"color": color, "dash": dash, "width": 2},
            name=f"{name} (AUC {curve.area:.3f})",
            hovertemplate=f"{name}<br>true positives %{{y:.1%}}, false positives %{{x:.1%}}<extra></extra>",
        )
    figure.update_xaxes(title_text="False positive rate", range=[-0.01, 1.01], zeroline=False)
    figure.update_yaxes(title_text="True positive rate", range=[-0.01, 1.01], zeroline=False)
    areas = [f"{curve.area:.3f} for {escape_controls(curve.name)}" for curve in curves]
    return Drawing(apply_style(figure, MAX_HEIGHT), f"The area under the ROC curve is {join_words(areas)}.")


def _compute_curves(results: StudyResults) -> list[RocCurve]:
    comparison, runs = results.comparison, results.comparison_runs
    if comparison is None or runs is None:
        return []
    winner = runs.systems[0]
    deployed = runs.deployed(winner)
    if len(comparison.labels) > 2:
        per_class = [_compute_curve(deployed, index, label) for index, label in enumerate(comparison.labels)]
        return sorted((curve for curve in per_class if curve), key=lambda curve: curve.area)[:MAX_ROC_CURVES]
    seeds = comparison.winner_system.seeds
    seed = next(seed for seed, table in zip(seeds, winner.tables, strict=True) if table is deployed)
    hardest = [row.against for row in comparison.rivals[:1]]
    tables = {f"winner, seed {seed}": deployed}
    tables |= {system.name: system.tables[0] for system in runs.systems if system.name in hardest}
    return [curve for name, table in tables.items() if (curve := _compute_curve(table, 1, name))]


def _compute_curve(predictions: pandas.DataFrame, label: int, name: str) -> RocCurve | None:
    """Return the curve of one label against the rest; None without probabilities, or if all rows or none have it."""
    is_label, column = predictions["label"].to_numpy() == label, f"probability_{label}"
    if is_label.all() or not is_label.any() or column not in predictions:
        return None
    false_positive_rate, true_positive_rate, _ = roc_curve(is_label, predictions[column].to_numpy())
    area = float(auc(false_positive_rate, true_positive_rate))
    return RocCurve(name, area, false_positive_rate, true_positive_rate)
