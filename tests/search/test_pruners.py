"""What holds for every pruner: it keeps what leads and, given reason, ends what does not."""

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


def play(study: optuna.Study, curve: Callable[[int], float]) -> tuple[TrialState, int]:
    """One trial with that curve, as a worker runs it: its state, and the last rung it came to."""

    def objective(trial: optuna.Trial) -> float:
        for rung in RUNGS:
            trial.report(curve(rung), rung)
            if rung != RUNGS[-1] and trial.should_prune():
                raise optuna.TrialPruned
        return curve(RUNGS[-1])

    study.optimize(objective, n_trials=1)
    return study.trials[-1].state, max(study.trials[-1].intermediate_values)


def opened(small: Path, name: str) -> optuna.Study:
    spec = load_study(small, (f"search.pruner={OPTIONS.get(name, repr(name))}",))
    return optuna.create_study(study_name="s", pruner=build_pruner(spec), direction="maximize")


@pytest.mark.parametrize("name", PRUNERS)
def test_a_rising_leader_is_never_pruned_and_a_sinking_loser_is(name: str, small: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = opened(small, name)
        for better in range(4):
            state, _ = play(study, lambda rung, lead=better: 0.6 + 0.05 * lead + rung / 1e5)  # type: ignore[misc]
            assert state == TrialState.COMPLETE
        ends = [play(study, lambda rung: 0.4 - rung / 1e5)[0] for _ in range(6)]
    assert (TrialState.PRUNED in ends) == (name != "none")


def test_asha_asks_at_the_rungs_and_halves(small: Path) -> None:
    study = opened(small, "asha")
    play(study, lambda rung: 0.8)
    assert play(study, lambda rung: 0.7) == (TrialState.PRUNED, 250)
    assert play(study, lambda rung: 0.9 if rung < 500 else 0.1) == (TrialState.PRUNED, 500)


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_an_interrupted_trial_does_not_compete_with_the_one_that_runs_in_its_place(name: str, small: Path) -> None:
    def decisions(interrupted: bool) -> list[tuple[TrialState, int]]:
        study = opened(small, name)
        if interrupted:
            broken = study.ask()
            broken.report(0.9, 250)
            broken.should_prune()
            broken.set_user_attr("reason", INTERRUPTED)
            study.tell(broken, state=TrialState.FAIL)
            study.enqueue_trial({}, user_attrs={"retry_of": broken.number})
        return [play(study, lambda rung, start=start: start + rung / 1e5) for start in (0.9, 0.8, 0.85, 0.7, 0.95)]  # type: ignore[misc]

    assert decisions(interrupted=True) == decisions(interrupted=False)
