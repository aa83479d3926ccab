"""Contract of every pruner: the leading trial runs to its end, and trials that are clearly worse are pruned."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from hpo.search.pruners import PRUNERS, build_pruner
from hpo.store.trial_state import INTERRUPTED
from hpo.study.spec import load_study

OPTIONS = {
    "threshold": "{name='threshold', lower=0.5}",
    "median": "{name='median', n_startup_trials=2}",
    "percentile": "{name='percentile', percentile=50.0, n_startup_trials=2}",
    "patient": "{name='patient', min_delta=0.0}",
}
RUNGS = (250, 500, 1000)


def run_trial(study: optuna.Study, curve: Callable[[int], float]) -> tuple[TrialState, int]:
    """Run one trial with that learning curve as a worker does, and return its state and its last rung."""

    def objective(trial: optuna.Trial) -> float:
        for rung in RUNGS:
            trial.report(curve(rung), rung)
            if rung != RUNGS[-1] and trial.should_prune():
                raise optuna.TrialPruned
        return curve(RUNGS[-1])

    study.optimize(objective, n_trials=1)
    return study.trials[-1].state, max(study.trials[-1].intermediate_values)


def create_study(small: Path, name: str) -> optuna.Study:
    spec = load_study(small, (f"search.pruner={OPTIONS.get(name, repr(name))}",))
    return optuna.create_study(study_name="s", pruner=build_pruner(spec), direction="maximize")


@pytest.mark.parametrize("name", PRUNERS)
def test_only_the_worse_trial_is_pruned(name: str, small: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = create_study(small, name)
        for rank in range(4):
            state, _ = run_trial(study, lambda rung, lead=rank: 0.6 + 0.05 * lead + rung / 1e5)  # type: ignore[misc]
            assert state == TrialState.COMPLETE
        states = [run_trial(study, lambda rung: 0.4 - rung / 1e5)[0] for _ in range(6)]
    assert (TrialState.PRUNED in states) == (name != "none")


def test_asha_halves_the_trials_at_each_rung(small: Path) -> None:
    study = create_study(small, "asha")
    run_trial(study, lambda rung: 0.8)
    assert run_trial(study, lambda rung: 0.7) == (TrialState.PRUNED, 250)
    assert run_trial(study, lambda rung: 0.9 if rung < 500 else 0.1) == (TrialState.PRUNED, 500)


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_an_interrupted_trial_does_not_compete_with_its_second_attempt(name: str, small: Path) -> None:
    def decisions(interrupted: bool) -> list[tuple[TrialState, int]]:
        study = create_study(small, name)
        if interrupted:
            broken = study.ask()
            broken.report(0.9, 250)
            broken.should_prune()
            broken.set_user_attr("reason", INTERRUPTED)
            study.tell(broken, state=TrialState.FAIL)
            study.enqueue_trial({}, user_attrs={"retry_of": broken.number})
        return [run_trial(study, lambda rung, start=start: start + rung / 1e5) for start in (0.9, 0.8, 0.85, 0.7, 0.95)]  # type: ignore[misc]

    assert decisions(interrupted=True) == decisions(interrupted=False)


def test_a_pruner_object_replaces_the_one_of_the_study_file(small: Path) -> None:
    pruner = optuna.pruners.NopPruner()
    assert build_pruner(load_study(small), pruner) is pruner
