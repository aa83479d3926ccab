"""Figure of the winner's confusion matrix on the test split."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from hpo.escaping import escape_controls
from hpo.plots.drawing import Drawing
from hpo.plots.style import MAX_HEIGHT, Array, apply_style, color_bar, wrap_label
from hpo.results.study_results import StudyResults

MAX_COUNTED_CLASSES = 12  # with more classes, cells have no counts
MAX_NAMED_CLASSES = 36  # with more classes, axes have no names
FEW_CLASSES = 5  # with no more than these, there is room for larger texts


def draw_confusion_matrix(results: StudyResults) -> Drawing | None:
    """Draw the test rows by true and predicted label, averaged over the winner's seeds; None without final runs.

    Color is the share of a row; up to twelve classes, cells have their counts.
    """
    if results.comparison is None:
        return None
    labels = results.comparison.labels
    counts = np.array(results.comparison.winner_system.confusion, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    positions, has_counts = np.arange(len(labels), dtype=np.int16), len(labels) <= MAX_COUNTED_CLASSES
    figure = go.Figure(
        go.Heatmap(
            z=shares.astype(np.float32),
            x=positions,
            y=positions,
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            showscale=not has_counts,
            colorscale=[[0, "rgba(0,114,178,0.04)"], [1, "rgba(0,114,178,0.65)"]],
            colorbar=color_bar("share<br>of row", tickformat=".0%"),
            customdata=counts.astype(np.float32),
            hovertemplate="true label %{y}, predicted %{x}<br>%{customdata:,.1f} texts, %{z:.1%}<extra></extra>",
        )
    )
    if has_counts:
        _add_counts(figure, counts)
    ticks = _label_ticks(labels)
    figure.update_xaxes(title_text="Predicted (color: share of a row)" if has_counts else "Predicted", **ticks)
    figure.update_yaxes(title_text="True label", **ticks, autorange="reversed")
    apply_style(figure, 320 if len(labels) <= FEW_CLASSES else MAX_HEIGHT, legend=False)
    return Drawing(figure, _describe_confusion(counts, shares, labels))


def _add_counts(figure: go.Figure, counts: Array) -> None:
    """Write the counts into their cells."""
    y, x = np.divmod(np.arange(counts.size), len(counts))
    figure.add_scatter(
        x=x.astype(np.int16),
        y=y.astype(np.int16),
        mode="text",
        hoverinfo="skip",
        text=[f"{count:,.0f}" for count in counts.flat],
        textfont_size=12 if len(counts) <= FEW_CLASSES else 9,
    )


def _label_ticks(labels: list[str]) -> dict[str, Any]:
    """Return plotly's options of both axes."""
    if len(labels) > MAX_NAMED_CLASSES:
        return {"tickvals": [], "ticktext": [], "showgrid": False, "zeroline": False}
    few = len(labels) <= FEW_CLASSES
    names = [wrap_label(label, 14) if few else wrap_label(label, 16, 1) for label in labels]
    return {
        "tickvals": np.arange(len(labels), dtype=np.int16),
        "ticktext": names,
        "showgrid": False,
        "zeroline": False,
    }


def _describe_confusion(counts: Array, shares: Array, labels: list[str]) -> str:
    """Describe the share of correct predictions and the most frequent mistake."""
    correct = np.trace(counts) / counts.sum()
    mistakes = shares.copy()
    np.fill_diagonal(mistakes, -1)
    true, predicted = np.unravel_index(mistakes.argmax(), mistakes.shape)
    mistake = f"{escape_controls(labels[true])} predicted as {escape_controls(labels[predicted])}"
    worst = f"{mistake} ({mistakes[true, predicted]:.1%} of its texts)"
    return f"{correct:.1%} of the test texts are classified correctly; the most frequent mistake is {worst}."
