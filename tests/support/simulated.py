"""Trials that nobody ran, with the values, scores, endings and times of trials that might have been."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from hpo.search.samplers import trial_seed
from hpo.store.trial_state import ERROR, INTERRUPTED, KILLED, PRUNED, is_finished, worker_identity
from hpo.study.spec import StudySpec
from hpo.training.metrics import METRICS, unsuitable_reason

BEGUN = datetime(2026, 3, 2, 9, 0)
BREAK = 0.4  # seconds between two trials of a worker
STEP, EVALUATION = 0.11, 1.9  # seconds
TOKENS = 21.5  # per text
TOP = 0.94  # accuracy of the best values
MISHAPS = {  # trial -> how it ends; the same again every fifty
    7: "error: RuntimeError: CUDA error: an illegal memory access was encountered",
    13: "diverged: the loss is nan at step 12",
    19: INTERRUPTED,
    29: KILLED,
    37: "infeasible: out of memory with one example at a time",
}
WARMUP = 3  # trials that come to their end whatever is drawn, so that there is a best one
Draw = np.random.Generator


class Simulation:
    """A search over the space of a study, as several workers would have left it."""

    def __init__(self, spec: StudySpec, made: Mapping[str, Any], pruned: bool, unfinished: bool) -> None:
        self.spec = spec
        self.pruned = pruned
        self.unfinished = unfinished
        self.finished = 0
        self.classes = len(made["data"]["labels"])
        self.rows = made["data"]["rows"]
        self.provenance = {name: made[name] for name in ("spec_hash", "git", "versions", "device")}
        self.provenance["data"] = made["data"]["fingerprint"]
        self.draw = np.random.default_rng(spec.search.seed)
        self.axes = {name: axis.distribution() for name, axis in spec.space.parameters.items()}
        self.names = [name for name in METRICS if unsuitable_reason(name, self.classes) is None]
        self.sign = 1 if METRICS[spec.objective].direction == "maximize" else -1
        assert isinstance(spec.search.rungs, list)
        self.rungs = [round(1000 * share) for share in spec.search.rungs]
        self.passed: list[list[float]] = [[] for _ in self.rungs]  # per rung, what reached it, the worst first
        self.free = [0.0] * spec.search.workers  # seconds after the start at which each worker has ended
        self.again: list[dict[str, Any]] = []
        self.places = 0

    def trials(self, count: int) -> list[FrozenTrial]:
        """So many trials, by number."""
        open_ones = min(3, count - 1) if self.unfinished else 0
        found = [self._trial(number) for number in range(count - open_ones)]
        return found + [self._open(number, number == count - 1) for number in range(count - open_ones, count)]

    @staticmethod
    def drawn(axis: Any, draw: Draw) -> Any:
        """A value on an axis, uniformly."""
        if isinstance(axis, CategoricalDistribution):
            return axis.choices[int(draw.integers(len(axis.choices)))]
        if isinstance(axis, IntDistribution):
            return int(draw.integers(axis.low, axis.high, endpoint=True))
        assert isinstance(axis, FloatDistribution)
        low, high = (math.log(end) if axis.log else end for end in (axis.low, axis.high))
        value = float(draw.uniform(low, high))
        return min(max(math.exp(value), axis.low), axis.high) if axis.log else value

    @staticmethod
    def course(spec: StudySpec, values: Mapping[str, Any], draw: Draw, share: float = 1.0) -> dict[str, Any]:
        """What a run of these values leaves behind that went through so much of its schedule, scores apart."""
        given = {"per_device_train_batch_size": 16, "num_train_epochs": 3, **spec.training, **values}
        train = spec.data.rows.get("train", 600)
        per_epoch = math.ceil(train / given["per_device_train_batch_size"])
        planned = per_epoch * given["num_train_epochs"]
        steps = max(1, math.ceil(planned * share))
        pace = STEP * given["per_device_train_batch_size"] / 16 * draw.uniform(0.95, 1.15)
        seconds = {"train": steps * pace, "evaluation": EVALUATION * math.ceil(4 * share)}
        kept = {name: given[name] for name in ("learning_rate", "weight_decay") if name in given}
        more = {name: values[name] for name in ("label_smoothing_factor", "adam_beta2") if name in values}
        return {
            "effective": {
                **kept,
                "warmup_steps": math.ceil(planned * given.get("warmup_ratio", 0.0)),
                "max_steps": planned,
                "num_train_epochs": float(given["num_train_epochs"]),
                "per_device_train_batch_size": given["per_device_train_batch_size"],
                "gradient_accumulation_steps": 1,
                "lr_scheduler_type": given.get("lr_scheduler_type", "linear"),
                "optim": "adamw_torch_fused",
                **more,
            },
            "seconds": {"wall": sum(seconds.values()), **seconds},
            "steps": steps,
            "examples": min(steps * given["per_device_train_batch_size"], train * given["num_train_epochs"]),
            "tokens": int(steps * given["per_device_train_batch_size"] * TOKENS),
            "peak_memory": int(680e6 + 2e6 * given["per_device_train_batch_size"] + draw.integers(4_000_000)),
        }

    def curve(self, accuracy: float) -> dict[int, dict[str, float]]:
        """Scores at every rung of a run that is about so accurate in the end."""
        chance = 1 / self.classes
        quality = (accuracy - chance) / (TOP - chance)
        return {rung: self._scores(quality, rung / 1000) for rung in self.rungs}

    def _begun(self, number: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Values of the next trial and its first user and system attributes: a retry, a known-good start, or new."""
        if self.again:
            told = self.again.pop(0)
            return told["values"], dict(told["user"]), {"fixed_params": told["values"]}
        user, system = {"place": self.places}, {}
        values = {name: self._sampled(name) for name in self.axes}
        if self.places < len(self.spec.space.known_good):
            start = self.spec.space.known_good[self.places]
            user |= {"known_good": self.places, "source": start.source}
            system["fixed_params"] = dict(start.values)
            values |= system["fixed_params"]
        self.places += 1
        return values, user, system

    def _sampled(self, name: str) -> Any:
        """The better of some draws, the more of them the longer the search goes on: what a sampler makes of it."""
        axis = self.axes[name]
        if name != "learning_rate":
            return self.drawn(axis, self.draw)
        count = 1 + min(3, self.places // 10) * (self.draw.random() < 0.7)
        tries = [self.drawn(axis, self.draw) for _ in range(count)]
        return min(tries, key=lambda rate: abs(math.log10(rate / 4e-5)))

    def _quality(self, values: Mapping[str, Any]) -> float:
        """How good values are, from 0 to 1: the learning rate matters most, and needs its warmup where it is high."""
        off = math.log10(values.get("learning_rate", 5e-5) / 4e-5)
        off -= 1.5 * values.get("warmup_ratio", 0.0) if off > 0 else 0.0
        good = math.exp(-((off / 0.8) ** 2)) * (1 - 0.6 * math.exp(-values.get("num_train_epochs", 3) / 1.1))
        good *= 1 - 0.4 * abs(values.get("weight_decay", 0.0) - 0.05)
        good *= 0.98 if values.get("per_device_train_batch_size", 16) == 64 else 1.0
        return good * (0.985 if values.get("lr_scheduler_type") == "constant_with_warmup" else 1.0)

    def _scores(self, quality: float, share: float) -> dict[str, float]:
        """All metrics on validation at a rung, no two of which can contradict each other much."""
        chance = 1 / self.classes
        accuracy = chance + (TOP - chance) * quality * (1 - math.exp(-4 * share)) + self.draw.normal(0, 0.012)
        count = self.rows["validation"]
        accuracy = round(min(max(accuracy, 0.8 * chance), 0.99) * count) / count
        wrong = (1 - accuracy) / (1 - chance)
        loss = 0.05 + 0.95 * math.log(self.classes) * wrong
        odd = {"log_loss": loss, "roc_auc": 1 - 0.5 * wrong**1.6, "mcc": 1 - wrong}
        near = {name: min(1.0, max(0.0, accuracy + self.draw.normal(0, 0.004))) for name in self.names}
        found = near | odd | {"accuracy": accuracy, "loss": loss}
        return {name: float(found[name]) for name in [*self.names, "loss"]}

    def _is_pruned(self, rung: int, value: float) -> bool:
        """Whether a value is not in the better half of those that reached the rung so far."""
        bisect.insort(self.passed[rung], self.sign * value)
        rank = bisect.bisect_left(self.passed[rung], self.sign * value)
        return rank < len(self.passed[rung]) // 2

    def _reason(self, number: int, values: Mapping[str, Any]) -> str | None:
        """What befalls the trial, if anything."""
        if self.pruned or self.places <= WARMUP:
            return None
        if values.get("learning_rate", 0.0) > 5e-4 and self.draw.random() < 0.5:
            return f"diverged: the loss is nan at step {self.draw.integers(3, 30)}"
        return MISHAPS.get(number % 50)

    def _trial(self, number: int) -> FrozenTrial:
        values, user, system = self._begun(number)
        reason, quality = self._reason(number, values), self._quality(values)
        last = len(self.rungs) - 1 if reason is None else int(self.draw.integers(-1, len(self.rungs) - 1))
        if self.pruned:
            last = int(self.draw.integers(len(self.rungs) - 1))
        curve: dict[int, dict[str, float]] = {}
        for place, rung in enumerate(self.rungs[: last + 1]):
            curve[rung] = self._scores(quality, rung / 1000)
            system[f"completed_rung_{place}"] = curve[rung][self.spec.objective]
            late = self._is_pruned(place, curve[rung][self.spec.objective]) and not self.pruned
            if reason is None and rung < 1000 and (late or (self.pruned and place == last)) and self._may_prune():
                reason = f"{PRUNED}: at rung {rung}"
                break
        reached = max(curve, default=20) / 1000
        course = self.course(self.spec, values, self.draw, reached)
        state = TrialState.COMPLETE if reason is None else TrialState.PRUNED
        if reason and not reason.startswith(PRUNED):
            state = TrialState.FAIL
            self._go_on(number, values, user, reason)
        return self._frozen(number, state, values, system, {**user, **course}, curve, reason)

    def _may_prune(self) -> bool:
        return self.pruned or self.places > WARMUP

    def _go_on(self, number: int, values: dict[str, Any], user: dict[str, Any], reason: str) -> None:
        """Queue the values of a trial that ended without a result once more."""
        if reason in {INTERRUPTED, KILLED}:
            more = {"retry_of": number, "kills": user.get("kills", 0) + (reason == KILLED)}
            self.again.append({"values": values, "user": {**user, **more}})

    def _frozen(
        self,
        number: int,
        state: TrialState,
        values: dict[str, Any],
        system: dict[str, Any],
        user: dict[str, Any],
        curve: dict[int, dict[str, float]],
        reason: str | None,
    ) -> FrozenTrial:
        seat = min(range(len(self.free)), key=self.free.__getitem__)
        start = BEGUN + timedelta(seconds=self.free[seat])
        end = start + timedelta(seconds=user["seconds"]["wall"] + BREAK)
        self.free[seat] += user["seconds"]["wall"] + BREAK
        scored = {rung: scores[self.spec.objective] for rung, scores in curve.items()}
        user = {
            **user,
            "seed": trial_seed(self.spec.search.seed, user["place"]),
            "provenance": self.provenance,
            "metrics": {str(rung): scores for rung, scores in curve.items()},
            "worker": {"host": f"node-{seat // 2 + 1}", "pid": 4100 + seat, "started": BEGUN.timestamp()},
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
            distributions=self.axes,
            user_attrs=user,
            system_attrs=system,
            intermediate_values=scored,
            trial_id=number,
        )
        self.finished += is_finished(frozen)
        return frozen

    def _open(self, number: int, waits: bool) -> FrozenTrial:
        """A trial that runs in this very process, or waits for its turn."""
        values, user, system = self._begun(number)
        first = self.rungs[0]
        scores = self._scores(self._quality(values), first / 1000)
        course = self.course(self.spec, values, self.draw, first / 1000)
        frozen = self._frozen(number, TrialState.RUNNING, values, system, {**user, **course}, {first: scores}, None)
        frozen.user_attrs["worker"] = worker_identity()
        frozen.datetime_complete = None
        if waits:
            frozen.state, frozen.params, frozen.distributions, frozen.datetime_start = TrialState.WAITING, {}, {}, None
            frozen.user_attrs, frozen.intermediate_values = {}, {}
            frozen.system_attrs = {"fixed_params": values}
        return frozen
