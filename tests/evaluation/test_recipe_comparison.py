"""The winner against the recipe: what is left of the promised gain, and what the recipe gives at equal cost."""

from __future__ import annotations

import numpy as np
import pytest

from hpo.evaluation.recipe_comparison import measure_lost_gain, score_at_equal_cost
from hpo.evaluation.statistics import ResampledScores, Side, resample_scores

OURS, THEIRS = Side(range(5)), Side(range(5, 10))


def draw_world(random: np.random.Generator) -> tuple[float, float, list[float], ResampledScores]:
    """Draw a true loss, and the promise, validation scores and test scores of two systems that are equally good."""
    labels = np.zeros(400, dtype=np.int64)
    difficulty = random.normal(size=400)
    skills = 1.2 + 0.1 * random.standard_normal(10)
    right = (skills[:, None] + difficulty + random.standard_normal((10, 400))) > 0
    runs = [np.stack([correct, ~correct], axis=1).astype(float) for correct in right]
    resampled = resample_scores("accuracy", labels, runs, draws=200, seed=int(random.integers(1 << 30)))
    split_luck, promise = 0.03 * random.standard_normal(), 0.02
    true_mean = 0.802  # of the probability of a right answer over difficulties, noise and skills
    by_skill = 0.1 * 0.187 * (skills[5:] - 1.2) / 0.1  # a recipe run that is good on test is good on validation too
    validation = true_mean + split_luck + by_skill + 0.01 * random.standard_normal(5)
    return promise, true_mean + split_luck + promise, validation.tolist(), resampled


def test_interval_of_the_lost_gain_covers_the_truth() -> None:
    random, covered, losses = np.random.default_rng(0), 0, []
    for _ in range(300):
        truth, promised, validation, resampled = draw_world(random)
        result = measure_lost_gain(promised, validation, resampled, OURS, THEIRS, sign=1)
        assert result is not None and result.lost == pytest.approx(result.promised - result.kept)
        covered += result.low <= truth <= result.high
        losses.append(result.lost)
    assert np.mean(losses) == pytest.approx(0.02, abs=0.002)
    assert 0.93 <= covered / 300 <= 0.995


def test_luck_of_the_splits_cancels_out_and_a_lower_loss_is_a_gain() -> None:
    _, promised, validation, resampled = draw_world(np.random.default_rng(1))
    one = measure_lost_gain(promised, validation, resampled, OURS, THEIRS, sign=1)
    other = measure_lost_gain(promised + 0.1, [v + 0.1 for v in validation], resampled, OURS, THEIRS, sign=1)
    reverse = measure_lost_gain(promised, validation, resampled, OURS, THEIRS, sign=-1)
    assert one and other and reverse
    assert other.lost == pytest.approx(one.lost) and other.high == pytest.approx(one.high)
    assert (reverse.promised, reverse.kept) == pytest.approx((-one.promised, -one.kept))


def test_single_runs_show_no_lost_gain() -> None:
    _, promised, validation, resampled = draw_world(np.random.default_rng(1))
    assert measure_lost_gain(promised, validation[:1], resampled, OURS, Side([5]), sign=1) is None


@pytest.mark.parametrize(
    ("budget", "affordable", "voting", "score"), [(29.0, 2, 2, 0.5), (35.0, 3, 3, 0.75), (99.0, 9, 4, 0.5)]
)
def test_recipe_runs_vote_as_many_as_the_cost_buys(budget: float, affordable: int, voting: int, score: float) -> None:
    labels = np.array([0, 0, 1, 1])
    first = [[0.9, 0.6, 0.9, 0.4], [0.9, 0.3, 0.9, 0.4], [0.9, 0.7, 0.9, 0.4], [0.9, 0.3, 0.9, 0.4]]
    runs = [np.stack([row, 1 - np.array(row)], axis=1) for row in np.array(first)]
    result = score_at_equal_cost("accuracy", labels, runs, budget, fit_seconds=11.0)
    assert result is not None and (result.affordable, result.voting, result.score) == (affordable, voting, score)


def test_no_vote_if_the_cost_buys_a_single_run() -> None:
    runs = [np.array([[0.9, 0.1]])] * 3
    assert score_at_equal_cost("accuracy", np.array([0]), runs, 19.0, fit_seconds=10.0) is None
