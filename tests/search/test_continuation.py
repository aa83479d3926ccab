"""Trials whose worker is killed, stopped or suspended continue, and the search is the one without interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.search.engines import run_search
from hpo.study.spec import load_study
from tests.support.search_process import KILLED, NoticeListener, SignalPoint, run_search_process

STEP = "hpo.training.trainer:RungTrainer.training_step"
KNOWN = '[[space.known_good]]\nsource = "paper"\nlearning_rate = 1e-3\n'


def continue_search(small: Path, store: str, *overrides: str) -> tuple[optuna.Study, list[str]]:
    """Run the rest of a search in this process; return its study and notices."""
    listener = NoticeListener()
    study = run_search(load_study(small, overrides), store_url(small, store), listener)
    return study, listener.notices


def store_url(small: Path, store: str) -> str:
    return f"sqlite:///{small.parent}/{store}"


def results(study: optuna.Study) -> list[Any]:
    """Return everything about the trials that no interruption may change: one row per trial."""
    return [
        (
            trial.number,
            trial.state.name,
            trial.params,
            trial.value,
            trial.intermediate_values,
            {key: trial.user_attrs.get(key) for key in ("place", "seed", "metrics", "effective", "steps", "tokens")},
        )
        for trial in study.get_trials()
    ]


@pytest.fixture
def asha(small: Path) -> Path:
    """A study with two sampled values, a known-good start and a pruner that prunes."""
    text = small.read_text().replace('pruner = "none"', 'pruner = "asha"')
    small.write_text(f"{text}[space.parameters.weight_decay]\nlow = 0.0\nhigh = 0.1\n{KNOWN}")
    return small


POINTS = {
    "before its row is written": SignalPoint("hpo.store.claiming_storage:ClaimingStorage._create_new_trial", 1),
    "after its row is written": SignalPoint("hpo.store.claiming_storage:ClaimingStorage._create_new_trial", 2, True),
    "while its values are drawn": SignalPoint("hpo.store.claiming_storage:ClaimingStorage._set_trial_param", 5, True),
    "before its first step": SignalPoint("hpo.training.trainer:RungTrainer._attempt", 2),
    "at a step": SignalPoint(STEP, 10),
    "after a report": SignalPoint("hpo.store.claiming_storage:ClaimingStorage.set_trial_intermediate_value", 7, True),
    "while it is pruned": SignalPoint("hpo.search.pruners:AshaPruner.prune", 5, True),
    "before its end": SignalPoint("hpo.store.claiming_storage:ClaimingStorage.set_trial_state_values", 3),
    "after its end": SignalPoint("hpo.store.claiming_storage:ClaimingStorage.set_trial_state_values", 2, True),
}
BUDGET = ("search.trials=4",)


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS.keys())
def test_killed_search_continues_as_if_it_had_not_been_killed(asha: Path, point: SignalPoint) -> None:
    whole, _ = continue_search(asha, "whole.db", *BUDGET)
    assert run_search_process(asha, BUDGET, store_url(asha, "killed.db"), point) == KILLED
    killed, notices = continue_search(asha, "killed.db", *BUDGET)
    assert results(killed) == results(whole)
    assert not any("waiting" in notice for notice in notices)
    assert not (asha.parent / "small" / "workers").exists()
