"""Simulated searches with crashes and failures end as undisturbed ones, and the simulator notices what is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.worker_simulation.scenario import memory_folder
from benchmarks.worker_simulation.simulation import Simulator
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


create = RetryingStorage._get_prepared_new_trial
# What is taken out of hpo -> by which replacement.
MUTATIONS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "the owner of a trial is not checked": (ClaimingStorage, "is_mine", lambda self, trial: True),
    "an enqueued trial is started by all": (ClaimingStorage, "_claim", lambda self, trial: True),
    "a trial is created again if the answer was lost": (RetryingStorage, "_get_prepared_new_trial", forget_attempts),
    "the trials of dead workers are not released": (worker, "release_dead_trials", lambda study, folder: []),
    "a trial that is not needed runs": (trial_queue, "is_surplus", lambda trial, trials, wanted: False),
    "the index is the number of the trial": (trial_queue, "replay_index", lambda trial, trials: trial.number + 1),
    "a store that is away fails the trial": (worker, "StoreAway", lambda error: error),
}


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_the_simulator_notices_a_missing_mechanism(
    simulator: Simulator, mutation: tuple[Any, str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.prepare()
    monkeypatch.setattr(*mutation)
    assert any(simulator.simulate(seed).violations for seed in range(SEEDS))


def test_a_seed_is_replayed_without_torch(simulator: Simulator) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "benchmarks.worker_simulation", "--seed", "3"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == simulator.simulate(3).trace
    assert "hpo.search.worker" in printed.stderr and not {"torch", "transformers"} & set(printed.stderr.split())
