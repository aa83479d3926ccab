"""The expected best score equals the mean over all subsets, and the figure shows when the recipe is reached."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from hpo.plots.expected_best import draw_expected_best, expected_maximum
from hpo.results.study_results import StudyResults
from hpo.training.metrics import Direction
from tests.plots.test_evaluation_figures import make_two_classes
from tests.support.drawn_results import make_results, make_trial, write_study


def test_expected_maximum_is_the_mean_over_all_subsets() -> None:
    values = [0.3, 0.9, 0.5, 0.5, 0.1, 0.7]
    expected = [np.mean([max(drawn) for drawn in combinations(values, size)]) for size in range(1, 7)]
    np.testing.assert_allclose(expected_maximum(values), expected)
    many = expected_maximum(np.random.default_rng(0).normal(size=2000).tolist())
    assert np.isfinite(many).all() and (np.diff(many) > 0).all()


def make_search(folder: Path, objective: str = "accuracy", values: tuple[float, ...] = (0.5, 0.9, 0.7)) -> StudyResults:
    trials = [make_trial(value, {1000: value}, {}, start=60.0 * index) for index, value in enumerate(values)]
    pruned = make_trial(None, {250: 0.6}, {}, "pruned: at rung 250")
    directions: tuple[Direction] = ("minimize" if objective == "log_loss" else "maximize",)
    return make_results(write_study(folder, objective), [*trials, pruned], directions=directions)


@pytest.mark.parametrize(("objective", "first", "last"), [("accuracy", 0.675, 0.9), ("log_loss", 0.675, 0.5)])
def test_curve_ends_at_the_best_trial_and_counts_pruned_ones(
    tmp_path: Path, objective: str, first: float, last: float
) -> None:
    drawing = draw_expected_best(make_search(tmp_path, objective))
    assert drawing is not None
    curve = drawing.figure.data[0]
    assert list(curve.x) == [1, 2, 3, 4] and curve.y[0] == pytest.approx(first) and curve.y[-1] == pytest.approx(last)
    assert drawing.alt == (
        f"The expected best {objective} goes from {first:.4f} with 1 trial to {last:.4f} with 4 trials."
    )
    assert drawing.figure.layout.xaxis2.title.text == "Device time (minutes)"


def test_recipe_level_is_its_mean_on_validation(tmp_path: Path) -> None:
    compared = make_two_classes(tmp_path)
    assert compared.comparison is not None
    level = compared.comparison.system("recipe").validation
    results = make_search(tmp_path, values=(0.1, 0.2, 0.999))
    results.loaded = compared.loaded
    drawing = draw_expected_best(results)
    assert drawing is not None and level is not None
    assert list(drawing.figure.data[1].y) == pytest.approx([level["accuracy"].mean] * 2)
    assert "; the recipe's 0." in drawing.alt and drawing.alt.endswith(
        ("is reached after 3 trials.", "is reached after 4 trials.")
    )


def test_too_few_trials_draw_nothing(tmp_path: Path) -> None:
    assert draw_expected_best(make_results(write_study(tmp_path), [make_trial(0.5, {1000: 0.5}, {})])) is None
