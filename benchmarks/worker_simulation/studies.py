"""The studies whose searches are simulated: a store with the study in it, and what an undisturbed search gives."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import optuna

from hpo.search import saved_trials, worker
from hpo.store.attributes import RunProvenance
from hpo.store.storage import default_storage_url, open_storage, open_study
from hpo.store.trial_state import INFEASIBLE, outcome, read_reason
from hpo.study.spec import StudySpec, load_study
from hpo.training.context import RunContext
from hpo.training.rungs import rung_steps
from hpo.training.state_saver import RunIdentity

NAME = "simulated"
STEPS = 6
NO_LIMIT = 2.0  # above all values of the axes
STUDY = """\
name = "simulated"
[data]
source = "builtin:reviews"
[model]
checkpoint = "builtin:tiny"
[space.parameters.learning_rate]
low = 1e-6
high = 1e-2
log = true
[space.parameters.weight_decay]
low = 0.0
high = 1.0
[search]
trials = {trials}
rungs = {rungs}
seed = {seed}
sampler = {sampler}
pruner = "{pruner}"
"""
KNOWN_GOOD = '[[space.known_good]]\nsource = "paper {index}"\nlearning_rate = {rate}\nweight_decay = 0.1\n'
PROVENANCE = RunProvenance("0" * 64, "1" * 64, "simulated", None, {"hpo": "0"})


@dataclass(frozen=True)
class Variant:
    """One of the studies. Trials whose weight_decay is above `lethal` kill their worker."""

    sampler: str = '"random"'
    pruner: str = "asha"
    starts: int = 1
    trials: int = 3
    rungs: tuple[float, ...] = (0.5, 1.0)
    seed: int = 0
    save_every: int | None = None
    lethal: float = NO_LIMIT
    diverging: float = NO_LIMIT

    def text(self) -> str:
        """Return the study file."""
        starts = [KNOWN_GOOD.format(index=index, rate=10.0 ** -(index + 3)) for index in range(self.starts)]
        text = STUDY.format(
            trials=self.trials, rungs=list(self.rungs), seed=self.seed, sampler=self.sampler, pruner=self.pruner
        )
        every = f"save_every = {self.save_every}\n" if self.save_every else ""
        return text + every + "".join(starts)


TPE = '{ name = "tpe", n_startup_trials = 2 }'
THREE_RUNGS = (0.25, 0.5, 1.0)
VARIANTS = (
    Variant(),
    Variant(TPE, "asha", 2, seed=1, trials=5, rungs=THREE_RUNGS),
    Variant(TPE, "hyperband", 0, seed=2, trials=4, lethal=0.75),
    Variant('"random"', "none", 1, seed=3, rungs=THREE_RUNGS, lethal=0.7, diverging=1e-3),
    Variant('"qmc"', "median", 2, seed=4, save_every=1),
    Variant('{ name = "random", prior = true }', "asha", 2, seed=5, trials=4, save_every=4),
    Variant('"cmaes"', "none", 0, seed=6, diverging=1e-3),
    Variant(TPE, "asha", 1, seed=7, lethal=0.8, save_every=1),
)


@dataclass
class StudyTemplate:
    """A variant with its study in a store that simulations copy."""

    variant: Variant
    folder: Path
    results: list[Any] = field(default_factory=list)  # of an undisturbed search by one worker

    @cached_property
    def rungs(self) -> dict[int, int]:
        """Step -> rung."""
        return rung_steps(self.load_spec(self.folder).search.rungs, list(range(STEPS + 1)))

    @cached_property
    def store(self) -> Path:
        """The store with the empty study."""
        create_study(self.load_spec(self.folder), default_storage_url(self.folder))
        return self.folder / "store.db"

    def load_spec(self, folder: Path) -> StudySpec:
        """Write the study file into a folder and load it."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "simulated.toml"
        file.write_text(self.variant.text(), encoding="utf8")
        return load_study(file)

    def copy_store(self, folder: Path) -> str:
        """Copy the store into a folder and return its URL."""
        shutil.copy(self.store, folder / "store.db")
        return default_storage_url(folder)


def create_study(spec: StudySpec, url: str) -> None:
    """Create the study in a store, without trials."""
    storage: Any = open_storage(url)
    data = {"fingerprint": PROVENANCE.data, "rows": {"train": 96, "validation": 32}, "labels": ["a", "b"]}
    open_study(storage, spec, "maximize", {"data": data, "spec_hash": PROVENANCE.spec_hash})
    storage.remove_session()
    storage.engine.dispose()


@contextmanager
def without_torch() -> Iterator[None]:
    """Leave out what of a worker imports torch, to find out the device."""
    with (
        mock.patch.object(worker, "run_provenance", lambda spec, fingerprint: PROVENANCE),
        mock.patch.object(saved_trials, "identify_run", identify_simulated_run),
    ):
        yield


def build_context(spec: StudySpec) -> RunContext:
    """Return what the runs of a study share, without model and data."""
    nothing: Any = None
    return RunContext(spec, nothing, nothing, range(32), {})  # type: ignore[arg-type]


def identify_simulated_run(name: str, seed: int, values: Any, provenance: RunProvenance) -> RunIdentity:
    """Return what hpo.search.trial_runner.identify_run does, without importing torch."""
    return RunIdentity(name, seed, dict(values), provenance.spec_hash, provenance.data, provenance.versions)


def list_results(study: optuna.Study) -> list[dict[str, Any]]:
    """Return everything about the trials of a study that no interruption of a single worker may change."""
    keys = ["place", "seed", "known_good", "drawn"]
    # A trial that kills its worker has measurements only if the worker was stopped in between.
    measured = ["metrics", "effective", "last", "best", "best_rung"]
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "params": trial.params,
            "value": trial.value,
            "reason": (read_reason(trial) or "").partition(", each time")[0],  # where depends on the saved state
            "rungs": trial.intermediate_values,
            **{key: trial.user_attrs.get(key) for key in keys + measured * (outcome(trial) != INFEASIBLE)},
        }
        for trial in study.get_trials(deepcopy=False)
    ]
