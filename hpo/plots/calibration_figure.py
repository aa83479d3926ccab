"""Figure of the deployed run's calibration on the test split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy.stats import binomtest

from hpo.evaluation.comparison import Comparison
from hpo.evaluation.scores import CALIBRATION_BINS, expected_calibration_error, normalize_rows
from hpo.plots.drawing import Drawing
from hpo.plots.style import BLUE, Array, Mark, apply_style, diagonal_line, marker_style, to_float32, to_int32
from hpo.results.study_results import StudyResults


@dataclass(frozen=True)
class _Bins:
    """Test texts grouped by confidence, in bins of equal width; empty bins are left out. All arrays are (bins,)."""

    number: Array  # from 1
    counts: Array
    confidence: Array
    accuracy: Array
    low: Array  # ends of the accuracy's 95 % interval (Wilson 1927)
    high: Array


def draw_calibration(results: StudyResults) -> Drawing | None:
    """Draw the deployed run's accuracy over its confidence with 95 % intervals, and the number of texts per bin.

    None without final runs.
    """
    if results.comparison_runs is None:
        return None
    labels, probabilities = _read_deployed(results.comparison_runs)
    confidence, is_correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = _group_by_confidence(confidence, is_correct)
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.75, 0.25], vertical_spacing=0.05)
    figure.add_scatter(**diagonal_line(), row=1, col=1)
    _add_accuracy(figure, bins)
    figure.add_bar(
        x=to_float32((bins.number - 0.5) / CALIBRATION_BINS),
        y=to_int32(bins.counts),
        width=0.9 / CALIBRATION_BINS,
        marker_color=BLUE,
        row=2,
        col=1,
        hovertemplate="%{y:,} texts<extra></extra>",
    )
    lowest = max(0.0, (bins.number.min() - 1) / CALIBRATION_BINS)
    figure.update_xaxes(range=[lowest, 1.01], tickformat=".0%", zeroline=False)
    figure.update_xaxes(title_text="Confidence in the predicted label", row=2, col=1)
    figure.update_yaxes(title_text="Accuracy", range=[0, 1.02], tickformat=".0%", zeroline=False, row=1, col=1)
    figure.update_yaxes(title_text="Texts", nticks=3, row=2, col=1)
    alt = (
        f"The deployed run's mean confidence is {confidence.mean():.1%}, its accuracy {is_correct.mean():.1%}, "
        f"its expected calibration error {expected_calibration_error(labels, probabilities):.3f}."
    )
    return Drawing(apply_style(figure, 420, legend=False), alt)


def _read_deployed(comparison: Comparison) -> tuple[Array, Array]:
    """Return the test texts' true labels (n,) and the deployed run's probabilities (n, classes)."""
    predictions = comparison.deployed(comparison.systems[0])
    return predictions["label"].to_numpy(), normalize_rows(predictions.filter(like="probability_").to_numpy())


def _group_by_confidence(confidence: Array, is_correct: Array) -> _Bins:
    bin_of_text = np.ceil(confidence * CALIBRATION_BINS).astype(int)
    numbers = np.unique(bin_of_text)
    groups = [bin_of_text == number for number in numbers]
    intervals = [
        binomtest(int(is_correct[group].sum()), int(group.sum())).proportion_ci(method="wilson") for group in groups
    ]
    return _Bins(
        number=numbers,
        counts=np.array([group.sum() for group in groups]),
        confidence=np.array([confidence[group].mean() for group in groups]),
        accuracy=np.array([is_correct[group].mean() for group in groups]),
        low=np.array([interval.low for interval in intervals]),
        high=np.array([interval.high for interval in intervals]),
    )


def _add_accuracy(figure: go.Figure, bins: _Bins) -> None:
    """Add the accuracy of each bin, at the mean confidence of its texts."""
    figure.add_scatter(
        x=to_float32(bins.confidence),
        y=to_float32(bins.accuracy),
        mode="lines+markers",
        marker=marker_style(Mark(BLUE, "circle"), 8),
        line={"color": BLUE, "width": 1},
        row=1,
        col=1,
        customdata=to_int32(bins.counts),
        error_y={
            "array": to_float32(bins.high - bins.accuracy),
            "arrayminus": to_float32(bins.accuracy - bins.low),
            "color": BLUE,
        },
        hovertemplate="confidence %{x:.1%}, accuracy %{y:.1%}<br>%{customdata:,} texts<extra></extra>",
    )
