"""Figure of the best score to expect from a number of trials, and whether it reaches the recipe's score."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from hpo.plots.drawing import Drawing, count_trials
from hpo.plots.style import BLUE, GREY, apply_style, to_float32, to_int32, wrap_label
from hpo.plots.trial_selection import choose_time_unit, read_value, value_format
from hpo.results.study_results import StudyResults
from hpo.store.trial_order import sign
from hpo.study.spec_tables import RECIPE

MIN_TRIALS = 3  # with fewer the curve is a line between two points
MAX_POINTS = 500


def draw_expected_best(results: StudyResults) -> Drawing | None:
    """Draw the expected best validation score over the number of trials and their device time, with the recipe's score.

    A pruned trial counts with its last score. None for a study with several objectives, without a complete trial, or
    with fewer than MIN_TRIALS trials that have a value.
    """
    if len(results.directions) > 1 or not results.complete:
        return None
    trials = [trial for trial in results.trials if trial.outcome in ("complete", "pruned")]
    values = [value for trial in trials if (value := read_value(results, trial)) is not None]
    if len(values) < MIN_TRIALS:
        return None
    factor = sign(results.directions[0])
    best = factor * expected_maximum([factor * value for value in values])
    counts = np.unique(np.linspace(1, len(best), min(len(best), MAX_POINTS)).astype(int))
    seconds = float(np.mean([trial.seconds.wall for trial in trials]))
    scale, unit = choose_time_unit(seconds * len(best))
    number_format, name = value_format(results), results.objectives[0]
    figure = go.Figure()
    figure.add_scatter(
        x=to_int32(counts),
        y=to_float32(best[counts - 1]),
        mode="lines",
        line={"color": BLUE, "width": 2},
        name="expected best",
        customdata=to_float32(counts * seconds * scale),
        hovertemplate=f"%{{x}} trials, %{{customdata:.2f}} {unit}: %{{y:{number_format}}}<extra></extra>",
    )
    level = recipe_level(results)
    if level is not None:
        figure.add_scatter(
            x=to_int32([1, len(best)]),
            y=to_float32([level, level]),
            mode="lines",
            line={"color": GREY, "width": 2, "dash": "dash"},
            name=RECIPE,
            hovertemplate=f"{RECIPE}: %{{y:{number_format}}}<extra></extra>",
        )
    # A second axis needs a trace of its own.
    figure.add_scatter(x=[0], y=[None], xaxis="x2", showlegend=False, hoverinfo="skip")
    ends = np.array([1 - 0.02 * len(best), 1.02 * len(best)])
    figure.update_layout(
        xaxis={"title_text": "Trials", "range": ends.tolist(), "dtick": math.ceil(len(best) / 10)},
        xaxis2={
            "title_text": f"Device time ({unit})",
            "range": (ends * seconds * scale).tolist(),
            "overlaying": "x",
            "side": "top",
            "showgrid": False,
        },
    )
    figure.update_yaxes(title_text=wrap_label(name, 30))
    return Drawing(apply_style(figure, 360), _describe(best, level, factor, name, number_format))


def expected_maximum(values: Sequence[float]) -> NDArray[np.float64]:
    """Return the expected maximum of n of the N values, drawn without replacement, for n = 1 to N.

    This is the unbiased version (Tang et al. 2020) of the expected validation performance of Dodge et al. 2019, "Show
    Your Work".
    """
    ascending = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ascending)
    expected = np.empty(count)
    # The share of subsets of size n whose largest value is the i-th smallest; for n = 1 it is 1 / N for each. With
    # n + 1 values it is (i - n) / (N - n) times (n + 1) / n as large.
    shares, ranks = np.full(count, 1 / count), np.arange(1, count + 1)
    for size in range(1, count + 1):
        expected[size - 1] = shares @ ascending
        if size < count:
            shares = shares * np.maximum(ranks - size, 0) / (count - size) * (size + 1) / size
    return expected


def recipe_level(results: StudyResults) -> float | None:
    """Return the recipe's mean validation score, or None if the baseline was not compared on validation."""
    comparison = results.comparison
    if comparison is None or comparison.difference_to(RECIPE) is None:
        return None
    validation = comparison.system(RECIPE).validation
    return validation[comparison.objective].mean if validation else None


def _describe(best: NDArray[np.float64], level: float | None, factor: int, name: str, number_format: str) -> str:
    curve = (
        f"The expected best {name} goes from {best[0]:{number_format}} with 1 trial to {best[-1]:{number_format}} with "
        f"{count_trials(len(best))}"
    )
    if level is None:
        return f"{curve}."
    reached = np.flatnonzero(factor * best >= factor * level)
    when = f"reached after {count_trials(int(reached[0]) + 1)}" if len(reached) else "not reached"
    return f"{curve}; the recipe's {level:{number_format}} is {when}."
