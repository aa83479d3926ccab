"""Simulated trials: hyperparameters, scores, outcomes and times of a plausible search, without any training."""

from __future__ import annotations

import bisect
import math
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import psutil
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from hpo.search.samplers import trial_seed
from hpo.store.attributes import WorkerIdentity
from hpo.store.trial_state import ERROR, INTERRUPTED, KILLED, PRUNED, is_finished
from hpo.study.spec import StudySpec
from hpo.training.metrics import METRICS, unsuitable_reason

START = datetime(2026, 3, 2, 9, 0)
PAUSE = 0.4  # seconds between two trials of a worker
STEP_SECONDS, EVALUATION_SECONDS = 0.11, 1.9
TOKENS_PER_TEXT = 21.5
BEST_ACCURACY = 0.94
FAILURES = {  # number of the trial modulo 50 -> reason
    7: "error: RuntimeError: CUDA error: an illegal memory access was encountered",
    13: "diverged: the loss is nan at step 12",
    19: INTERRUPTED,
    29: KILLED,
    37: "infeasible: out of memory with one example at a time",
}
ALWAYS_COMPLETE = 3  # first trials that complete whatever they draw, so that there is a best one
Generator = np.random.Generator


class Simulation:
    """A search over the space of a study by several workers."""

    def __init__(self, spec: StudySpec, provenance: Mapping[str, Any], pruned: bool, unfinished: bool) -> None:
        self.spec = spec
        self.pruned = pruned
        self.unfinished = unfinished
        self.finished = 0
        self.classes = len(provenance["data"]["labels"])
        self.rows = provenance["data"]["rows"]
        self.provenance = {name: provenance[name] for name in ("spec_hash", "git", "versions", "device")}
        self.provenance["data"] = provenance["data"]["fingerprint"]
        self.generator = np.random.default_rng(spec.search.seed)
        self.distributions = {name: parameter.distribution() for name, parameter in spec.space.parameters.items()}
        self.metrics = [name for name in METRICS if unsuitable_reason(name, self.classes) is None]
        self.sign = 1 if METRICS[spec.objective].direction == "maximize" else -1
        assert isinstance(spec.search.rungs, list)
        self.rungs = [round(1000 * share) for share in spec.search.rungs]
        self.values_at_rung: list[list[float]] = [[] for _ in self.rungs]  # of all trials so far, the worst first
        self.free_at = [0.0] * spec.search.workers  # seconds after START at which each worker is free
        self.retries: list[dict[str, Any]] = []
        self.started = 0  # trials that are not retries

    def trials(self, count: int) -> list[FrozenTrial]:
        """Simulate `count` trials; returned by number."""
        unfinished = min(3, count - 1) if self.unfinished else 0
        ended = [self._simulate_ended(number) for number in range(count - unfinished)]
        numbers = range(count - unfinished, count)
        return ended + [self._simulate_unfinished(number, number == count - 1) for number in numbers]

    @staticmethod
    def sample(distribution: Any, generator: Generator) -> Any:
        """Draw a value, uniformly on the scale of the distribution."""
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[int(generator.integers(len(distribution.choices)))]
        if isinstance(distribution, IntDistribution):
            return int(generator.integers(distribution.low, distribution.high, endpoint=True))
        assert isinstance(distribution, FloatDistribution)
        bounds = (distribution.low, distribution.high)
        low, high = map(math.log, bounds) if distribution.log else bounds
        value = float(generator.uniform(low, high))
        return min(max(math.exp(value), distribution.low), distribution.high) if distribution.log else value

    @staticmethod
    def measure(spec: StudySpec, values: Mapping[str, Any], generator: Generator, share: float = 1.0) -> dict[str, Any]:
        """Return the attributes, other than scores, of a run that trained for this share of its schedule."""
        fields = {"per_device_train_batch_size": 16, "num_train_epochs": 3, **spec.training, **values}
        train = spec.data.rows.get("train", 600)
        per_epoch = math.ceil(train / fields["per_device_train_batch_size"])
        planned = per_epoch * fields["num_train_epochs"]
        steps = max(1, math.ceil(planned * share))
        step_seconds = STEP_SECONDS * fields["per_device_train_batch_size"] / 16 * generator.uniform(0.95, 1.15)
        seconds = {
            "train": steps * step_seconds,
            "evaluation": EVALUATION_SECONDS * math.ceil(4 * share),
            "saving": 0.2,
        }
        first = {name: fields[name] for name in ("learning_rate", "weight_decay") if name in fields}
        last = {name: values[name] for name in ("label_smoothing_factor", "adam_beta2") if name in values}
        return {
            "effective": {
                **first,
                "warmup_steps": math.ceil(planned * fields.get("warmup_ratio", 0.0)),
                "max_steps": planned,
                "num_train_epochs": float(fields["num_train_epochs"]),
                "per_device_train_batch_size": fields["per_device_train_batch_size"],
                "gradient_accumulation_steps": 1,
                "lr_scheduler_type": fields.get("lr_scheduler_type", "linear"),
                "optim": "adamw_torch_fused",
                **last,
            },
            "seconds": {"wall": sum(seconds.values()), **seconds},
            "steps": steps,
            "examples": min(steps * fields["per_device_train_batch_size"], train * fields["num_train_epochs"]),
            "tokens": int(steps * fields["per_device_train_batch_size"] * TOKENS_PER_TEXT),
            "peak_memory": int(680e6 + 2e6 * fields["per_device_train_batch_size"] + generator.integers(4_000_000)),
        }

    def curve(self, accuracy: float) -> dict[int, dict[str, float]]:
        """Return scores per rung of a run with about this accuracy at the end."""
        chance = 1 / self.classes
        quality = (accuracy - chance) / (BEST_ACCURACY - chance)
        return {rung: self._scores(quality, rung / 1000) for rung in self.rungs}

    def _start(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return values, user and system attributes of the next trial: a retry, a starting point, or a drawn one."""
        if self.retries:
            retry = self.retries.pop(0)
            return retry["values"], dict(retry["user"]), {"fixed_params": retry["values"]}
        user: dict[str, Any] = {"place": self.started}
        system: dict[str, Any] = {}
        values = {name: self._sample_like_tpe(name) for name in self.distributions}
        if self.started < len(self.spec.space.known_good):
            start = self.spec.space.known_good[self.started]
            user |= {"known_good": self.started, "source": start.source}
            system["fixed_params"] = dict(start.values)
            values |= system["fixed_params"]
        self.started += 1
        return values, user, system

    def _sample_like_tpe(self, name: str) -> Any:
        """Draw a value; of the learning rate the best of several draws, more of them as the search goes on."""
        distribution = self.distributions[name]
        if name != "learning_rate":
            return self.sample(distribution, self.generator)
        count = 1 + min(3, self.started // 10) * (self.generator.random() < 0.7)
        draws = [self.sample(distribution, self.generator) for _ in range(count)]
        return min(draws, key=lambda rate: abs(math.log10(rate / 4e-5)))

    def _quality(self, values: Mapping[str, Any]) -> float:
        """Return how good values are, from 0 to 1: the learning rate matters most, and a high one needs warmup."""
        off = math.log10(values.get("learning_rate", 5e-5) / 4e-5)
        off -= 1.5 * values.get("warmup_ratio", 0.0) if off > 0 else 0.0
        good = math.exp(-((off / 0.8) ** 2)) * (1 - 0.6 * math.exp(-values.get("num_train_epochs", 3) / 1.1))
        good *= 1 - 0.4 * abs(values.get("weight_decay", 0.0) - 0.05)
        good *= 0.98 if values.get("per_device_train_batch_size", 16) == 64 else 1.0
        return good * (0.985 if values.get("lr_scheduler_type") == "constant_with_warmup" else 1.0)

    def _scores(self, quality: float, share: float) -> dict[str, float]:
        """Return all metrics on validation at a rung, consistent with each other."""
        chance = 1 / self.classes
        accuracy = (
            chance + (BEST_ACCURACY - chance) * quality * (1 - math.exp(-4 * share)) + self.generator.normal(0, 0.012)
        )
        count = self.rows["validation"]
        accuracy = round(min(max(accuracy, 0.8 * chance), 0.99) * count) / count
        wrong = (1 - accuracy) / (1 - chance)
        loss = 0.05 + 0.95 * math.log(self.classes) * wrong
        derived = {"log_loss": loss, "roc_auc": 1 - 0.5 * wrong**1.6, "mcc": 1 - wrong}
        similar = {name: min(1.0, max(0.0, accuracy + self.generator.normal(0, 0.004))) for name in self.metrics}
        scores = similar | derived | {"accuracy": accuracy, "loss": loss}
        return {name: float(scores[name]) for name in [*self.metrics, "loss"]}

    def _is_pruned(self, rung: int, value: float) -> bool:
        """Whether a value is in the worse half of those at this rung so far."""
        bisect.insort(self.values_at_rung[rung], self.sign * value)
        rank = bisect.bisect_left(self.values_at_rung[rung], self.sign * value)
        return rank < len(self.values_at_rung[rung]) // 2

    def _failure(self, number: int, values: Mapping[str, Any]) -> str | None:
        """Return why the trial fails, if it does."""
        if self.pruned or self.started <= ALWAYS_COMPLETE:
            return None
        if values.get("learning_rate", 0.0) > 5e-4 and self.generator.random() < 0.5:
            return f"diverged: the loss is nan at step {self.generator.integers(3, 30)}"
        return FAILURES.get(number % 50)

    def _simulate_ended(self, number: int) -> FrozenTrial:
        values, user, system = self._start()
        reason, quality = self._failure(number, values), self._quality(values)
        last = len(self.rungs) - 1 if reason is None else int(self.generator.integers(-1, len(self.rungs) - 1))
        if self.pruned:
            last = int(self.generator.integers(len(self.rungs) - 1))
        curve: dict[int, dict[str, float]] = {}
        for index, rung in enumerate(self.rungs[: last + 1]):
            curve[rung] = self._scores(quality, rung / 1000)
            system[f"completed_rung_{index}"] = curve[rung][self.spec.objective]
            is_worse = self._is_pruned(index, curve[rung][self.spec.objective]) and not self.pruned
            if reason is None and rung < 1000 and (is_worse or (self.pruned and index == last)) and self._may_prune():
                reason = f"{PRUNED}: at rung {rung}"
                break
        reached = max(curve, default=20) / 1000
        measured = self.measure(self.spec, values, self.generator, reached)
        state = TrialState.COMPLETE if reason is None else TrialState.PRUNED
        if reason and not reason.startswith(PRUNED):
            state = TrialState.FAIL
            self._enqueue_retry(number, values, user, reason)
        return self._freeze(number, state, values, system, {**user, **measured}, curve, reason)

    def _may_prune(self) -> bool:
        return self.pruned or self.started > ALWAYS_COMPLETE

    def _enqueue_retry(self, number: int, values: dict[str, Any], user: dict[str, Any], reason: str) -> None:
        """Enqueue the values of a trial that ended without a result."""
        if reason in {INTERRUPTED, KILLED}:
            retry = {"retry_of": number, "kills": user.get("kills", 0) + (reason == KILLED)}
            self.retries.append({"values": values, "user": {**user, **retry}})

    def _freeze(
        self,
        number: int,
        state: TrialState,
        values: dict[str, Any],
        system: dict[str, Any],
        user: dict[str, Any],
        curve: dict[int, dict[str, float]],
        reason: str | None,
    ) -> FrozenTrial:
        worker = min(range(len(self.free_at)), key=self.free_at.__getitem__)
        start = START + timedelta(seconds=self.free_at[worker])
        end = start + timedelta(seconds=user["seconds"]["wall"] + PAUSE)
        self.free_at[worker] += user["seconds"]["wall"] + PAUSE
        scored = {rung: scores[self.spec.objective] for rung, scores in curve.items()}
        user = {
            **user,
            "seed": trial_seed(self.spec.search.seed, user["place"]),
            "provenance": self.provenance,
            "metrics": {str(rung): scores for rung, scores in curve.items()},
            "worker": self.identity(worker),
        }
        if scored:
            best = max(scored, key=lambda rung: self.sign * scored[rung])
            user |= {"last": scored[max(scored)], "best": scored[best], "best_rung": best}
        if reason:
            user["reason"] = reason
        if reason and reason.startswith(ERROR):
            user["traceback"] = f"Traceback (most recent call last):\n  ...\n{reason.removeprefix('error: ')}\n"
        frozen = FrozenTrial(
            number=number,
            state=state,
            value=None,
            datetime_start=start,
            datetime_complete=end,
            params=values,
            values=[scored[max(scored)]] if state in {TrialState.COMPLETE, TrialState.PRUNED} else None,
            distributions=self.distributions,
            user_attrs=user,
            system_attrs=system,
            intermediate_values=scored,
            trial_id=number,
        )
        self.finished += is_finished(frozen)
        return frozen

    @staticmethod
    def identity(worker: int) -> dict[str, Any]:
        """Return the worker attribute of a simulated worker, two on each node."""
        node = f"node-{worker // 2 + 1}"
        started, lock = START.timestamp(), f"{worker:032x}"
        return asdict(WorkerIdentity(node, 4100 + worker, started, lock, f"boot of {node}", "1:2"))

    def _simulate_unfinished(self, number: int, is_waiting: bool) -> FrozenTrial:
        """Simulate a trial that runs in this process, or that waits in the queue."""
        values, user, system = self._start()
        first = self.rungs[0]
        scores = self._scores(self._quality(values), first / 1000)
        measured = self.measure(self.spec, values, self.generator, first / 1000)
        frozen = self._freeze(number, TrialState.RUNNING, values, system, {**user, **measured}, {first: scores}, None)
        frozen.user_attrs["worker"] = this_process()
        frozen.datetime_complete = None
        if is_waiting:
            frozen.state, frozen.params, frozen.distributions, frozen.datetime_start = TrialState.WAITING, {}, {}, None
            frozen.user_attrs, frozen.intermediate_values = {}, {}
            frozen.system_attrs = {"fixed_params": values}
        return frozen


def this_process() -> dict[str, Any]:
    """Return the worker attribute of this process, as versions before the lock files stored it."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
