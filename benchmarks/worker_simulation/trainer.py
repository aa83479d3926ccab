"""A trainer without torch: each step changes a number instead of weights, and scores are drawn from that number.

A run that continues from the right state gets the same scores as one that was never interrupted; any other gets others.
"""

from __future__ import annotations

import json
import math
import random
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna

from benchmarks.worker_simulation.kernel import Kernel, SimulatedProcess
from benchmarks.worker_simulation.studies import STEPS, Variant
from hpo.ownership import owned_folder
from hpo.search.trial_trainer import RunTrial
from hpo.store.trial_state import DIVERGED
from hpo.training.context import RunContext
from hpo.training.measurements import RunMeasurements, TrialEnded, TrialStopped
from hpo.training.rungs import rung_steps
from hpo.training.state_saver import RunIdentity, StateSaver, UnfitStateError

EVALUATED_BATCHES = 2
LETHAL_STEP = 3  # of a trial that kills its worker
DIVERGING_RUNG = 500  # the last one of a run that diverges
STATE_FILE = "state.json"


@dataclass(frozen=True)
class SimulatedClock:
    """How far a run is."""

    step: int
    steps: int
    attempt: float


@dataclass(frozen=True)
class SimulatedState:
    """What is saved of a run; the same interface as SavedState."""

    clock: SimulatedClock
    measurements: RunMeasurements
    weights: int

    def size(self) -> int:
        """Return about how many bytes it takes."""
        return 1000

    def write(self, folder: Path, identity: RunIdentity, write_trainer_state: Callable[[str], None]) -> None:
        """Write the state into a new folder that replaces the one at this path."""
        with owned_folder(folder) as new:
            text = json.dumps({"identity": asdict(identity), **asdict(self)})
            (new / STATE_FILE).write_text(text, encoding="utf8")


def read_simulated_state(folder: Path, identity: RunIdentity) -> Any:
    """Read a state, as hpo.training.saved_state.read_state does."""
    stored = json.loads((folder / STATE_FILE).read_text(encoding="utf8"))
    if differing := identity.differences(stored["identity"]):
        raise UnfitStateError(f"it belongs to another run ({', '.join(differing)} differ)")
    measurements = RunMeasurements(**stored["measurements"])
    measurements.curve = {int(rung): scores for rung, scores in measurements.curve.items()}
    return SimulatedState(SimulatedClock(**stored["clock"]), measurements, stored["weights"])


def initial_weights(values: Mapping[str, Any], seed: int) -> int:
    """Return what the weights are before the first step."""
    return zlib.crc32(json.dumps([dict(sorted(values.items())), seed]).encode())


def train_step(weights: int, step: int) -> int:
    """Return the weights after a step."""
    return zlib.crc32(f"{weights} {step}".encode())


def score_weights(weights: int, values: Mapping[str, Any], rung: int) -> float:
    """Return the objective at a rung."""
    quality = 1 - abs(math.log10(values["learning_rate"]) + 3.5) / 4 - values["weight_decay"] / 2
    return 0.5 + 0.4 * quality * (1 - math.exp(-rung / 400)) + 0.05 * random.Random(weights).random()


def diverges(values: Mapping[str, Any], rung: int, variant: Variant) -> bool:
    """Whether a run diverges before it reaches this rung."""
    return values["learning_rate"] > variant.diverging and rung > DIVERGING_RUNG


def expected_curve(
    values: Mapping[str, Any], seed: int, rungs: Mapping[int, int], variant: Variant
) -> dict[int, float]:
    """Return rung -> score of a run that nothing interrupts."""
    weights, curve = initial_weights(values, seed), {}
    for step in range(1, STEPS + 1):
        weights = train_step(weights, step)
        if step in rungs and not diverges(values, rungs[step], variant):
            curve[rungs[step]] = score_weights(weights, values, rungs[step])
    return curve


class SimulatedTrainer:
    """Runs trials as RungTrainer does, in the same order of events, on the virtual clock."""

    hp_space: Callable[[optuna.Trial], dict[str, Any]]
    on_rung: Callable[[int, dict[str, float], bool], None]
    on_progress: Callable[[int, int, float | None], None]
    notice: Callable[[str], None]

    def __init__(
        self,
        context: RunContext,
        run_trial: RunTrial,
        kernel: Kernel,
        variant: Variant,
        pace: float,
        kill: Callable[[SimulatedProcess], None],
    ) -> None:
        self.context, self.run_trial, self.kernel = context, run_trial, kernel
        self.variant, self.pace, self.kill = variant, pace, kill
        self.measurements = RunMeasurements()
        self.rungs = rung_steps(context.spec.search.rungs, list(range(STEPS + 1)))

    def hyperparameter_search(self, **options: Any) -> Any:
        """Do what transformers.Trainer.hyperparameter_search does with backend "optuna"."""
        self.hp_space = options.pop("hp_space")
        loop = {name: options.pop(name) for name in ("n_trials", "catch")}
        options.pop("compute_objective"), options.pop("backend")
        study = optuna.create_study(**options)
        study.optimize(lambda trial: self.run_trial(self, trial), **loop)
        return study.best_trial

    def run(self, values: Mapping[str, Any], seed: int, name: str, saver: StateSaver) -> RunMeasurements:
        """Run a trial, or continue it from its saved state."""
        saved: Any = saver.load(read_simulated_state)
        self.measurements = saved.measurements if saved else RunMeasurements()
        self._values, self._saver = values, saver
        self._weights = saved.weights if saved else initial_weights(values, seed)
        self._started = time.monotonic() - (saved.clock.attempt if saved else 0.0)
        self._step = saved.clock.step if saved else 0
        self.measurements.effective = {"learning_rate": values["learning_rate"], "max_steps": STEPS}
        try:
            while self._step < STEPS:
                self._train_step()
        finally:
            self._measure()
        return self.measurements

    def wall_seconds(self) -> float:
        """Return the virtual seconds of the run so far."""
        return time.monotonic() - self._started

    def save_weights(self, folder: Path) -> None:
        """Write the number that stands for the weights."""
        (folder / "weights.txt").write_text(str(self._weights), encoding="utf8")

    def _train_step(self) -> None:
        self.kernel.sleep(self.pace * (0.5 + self.kernel.random.random()))
        step = self._step = self._step + 1
        if self._values["weight_decay"] > self.variant.lethal and step == LETHAL_STEP:
            process = self.kernel.process
            assert process
            self.kernel.log(process, "the trial kills it")
            self.kill(process)
        self._weights = train_step(self._weights, step)
        rung = self.rungs.get(step)
        try:
            self.on_progress(step, STEPS, 0.5)
        except (TrialStopped, KeyboardInterrupt):
            if rung is None:  # as in RungCallback.on_step_end
                self._save()
            raise
        if rung is not None:
            self._evaluate(rung)
        if self._saver.is_due(step, rung is not None, step == STEPS):
            self._save()

    def _evaluate(self, rung: int) -> None:
        for _ in range(EVALUATED_BATCHES):
            self.kernel.sleep(self.pace / 4)
            self.on_progress(self._step, STEPS, None)
        if diverges(self._values, rung, self.variant):
            raise TrialEnded(f"{DIVERGED}: the loss is nan at step {self._step}")
        score = score_weights(self._weights, self._values, rung)
        self.measurements.curve[rung] = {self.context.spec.objective: score}
        self._measure()
        self.on_rung(rung, self.measurements.curve[rung], self._step == STEPS)

    def _save(self) -> None:
        self._measure()
        clock = SimulatedClock(self._step, STEPS, self.wall_seconds())
        state: Any = SimulatedState(clock, self.measurements, self._weights)
        self._saver.save(state, lambda path: None)

    def _measure(self) -> None:
        wall = self.wall_seconds()
        self.measurements.seconds = {"wall": wall, "train": wall, "evaluation": 0.0}
        self.measurements.steps = self._step
        self.measurements.examples = self.measurements.tokens = 16 * self._step
