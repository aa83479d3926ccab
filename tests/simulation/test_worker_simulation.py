"""Simulated searches with crashes and failures end as undisturbed ones, and the simulator notices what is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from benchmarks.worker_simulation.scenario import memory_folder
from benchmarks.worker_simulation.simulation import Simulator
from hpo.errors import StoreError
from hpo.search import worker
from hpo.store import trial_queue
from hpo.store.claiming_storage import ClaimingStorage
from hpo.store.retrying_storage import RetryingStorage
from hpo.training.acceleration import frozen_gc

ROOT = Path(__file__).resolve().parents[2]
SEEDS, CHUNK = 200, 20


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with memory_folder() as folder, frozen_gc():
        yield Simulator(folder)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_a_search_ends_as_if_nothing_had_happened(simulator: Simulator, first: int) -> None:
    searches = [simulator.simulate(seed) for seed in range(first, first + CHUNK)]
    assert {search.seed: search.violations for search in searches if search.violations} == {}
    assert sum(search.events for search in searches) > CHUNK


def forget_attempts(self: Any, *arguments: Any) -> Any:
    """Create a trial without looking whether an earlier attempt has created it."""
    self._attempted.clear()
    return create(self, *arguments)


def start_waiting(self: Any, trial: int) -> bool:
    """Start a trial in two steps, without the name of its worker."""
    return RetryingStorage.set_trial_state_values(self, trial, TrialState.RUNNING)


create = RetryingStorage._get_prepared_new_trial


class FailingStoreAway(Exception):
    """An exception that Optuna takes for a failure of the trial."""

    def __init__(self, error: StoreError) -> None:
        self.error = error


Mutation = tuple[Any, str, Any]
# What is taken out of hpo -> by which replacement, and a seed that has noticed it.
MUTATIONS: dict[str, tuple[Mutation, int]] = {
    "the owner of a trial is not checked": ((ClaimingStorage, "is_mine", lambda self, trial: True), 15),
    "Optuna starts waiting trials": ((ClaimingStorage, "_claim", start_waiting), 0),
    "a lost creation is repeated": ((RetryingStorage, "_get_prepared_new_trial", forget_attempts), 71),
    "trials of dead workers are not released": ((worker, "release_dead_trials", lambda study, folder: []), 0),
    "a trial that is not needed runs": ((trial_queue, "is_surplus", lambda trial, trials, wanted: False), 33),
    "the index is that of the trial": ((trial_queue, "replay_index", lambda trial, trials: trial.number + 1), 1),
    "a store that is away fails the trial": ((worker, "StoreAway", FailingStoreAway), 47),
}


@pytest.mark.parametrize(("mutation", "seed"), MUTATIONS.values(), ids=MUTATIONS.keys())
def test_the_simulator_notices_a_missing_mechanism(
    simulator: Simulator, mutation: Mutation, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.prepare()
    monkeypatch.setattr(*mutation)
    assert any(simulator.simulate(other).violations for other in (seed, *range(SEEDS)))


def test_a_seed_is_replayed_without_torch(simulator: Simulator) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "benchmarks.worker_simulation", "--seed", "3"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == simulator.simulate(3).trace
    assert "hpo.search.worker" in printed.stderr and not {"torch", "transformers"} & set(printed.stderr.split())
