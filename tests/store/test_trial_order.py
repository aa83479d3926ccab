"""Trials are ordered by objective in one way, whichever direction is better."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.store.trial_order import best_first, best_rung, is_better, rank_key, sign


def make_trials() -> list[FrozenTrial]:
    study = optuna.create_study()
    study.add_trials(
        [
            create_trial(value=0.5),
            create_trial(state=TrialState.FAIL),
            create_trial(state=TrialState.PRUNED, intermediate_values={125: 0.9}),
            create_trial(value=0.7),
            create_trial(state=TrialState.PRUNED, intermediate_values={125: 0.1, 500: 0.2}),
            create_trial(value=0.5),
            create_trial(state=TrialState.PRUNED, intermediate_values={125: 0.1, 500: 0.3}),
        ]
    )
    return study.get_trials()


@pytest.mark.parametrize(("direction", "order"), [("maximize", [3, 0, 5]), ("minimize", [0, 5, 3])])
def test_complete_trials_come_best_first_and_ties_keep_their_order(direction: str, order: list[int]) -> None:
    assert [trial.number for trial in best_first(make_trials(), direction)] == order


@pytest.mark.parametrize(
    ("direction", "order"), [("maximize", [3, 0, 5, 6, 4, 2, 1]), ("minimize", [0, 5, 3, 4, 6, 2, 1])]
)
def test_pruned_trials_follow_by_rung_and_score_and_failures_last(direction: str, order: list[int]) -> None:
    ranked = sorted(make_trials(), key=lambda trial: rank_key(trial, direction))
    assert [trial.number for trial in ranked] == order


def test_signs_and_comparisons_follow_the_direction() -> None:
    assert sign("maximize") == sign("MAXIMIZE") == 1 and sign("minimize") == -1
    assert is_better(2.0, 1.0, "maximize") and is_better(1.0, 2.0, "minimize")
    assert not is_better(1.0, 1.0, "maximize") and not is_better(float("nan"), 1.0, "minimize")
    assert best_rung({250: 0.5, 500: 0.7, 1000: 0.7}, "maximize") == 500
    assert best_rung({250: 0.5, 500: 0.7}, "minimize") == 250
