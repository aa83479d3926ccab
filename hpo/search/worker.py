"""One worker: Trainer.hyperparameter_search until the budget is spent."""

from __future__ import annotations

import json
import math
import os
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.data.token_cache import tokenize_split, truncation_notice
from hpo.errors import HpoError, StudyError, TrainingError
from hpo.search.best_weights import BestWeights
from hpo.search.budget import Budget, count_finished
from hpo.search.preflight import load_study_data
from hpo.search.pruners import build_pruner
from hpo.search.samplers import build_sampler, option_error, trial_seed
from hpo.search.search_listener import SearchListener
from hpo.search.signals import StopSignal
from hpo.search.stopping_rule import has_stopped, should_stop
from hpo.store import trial_queue, trial_state
from hpo.store.provenance import collect_provenance
from hpo.store.storage import (
    GRACE_PERIOD,
    HEARTBEAT_INTERVAL,
    check_same_spec,
    check_storage_url,
    find_study,
    open_storage,
    open_study,
    store_exists,
)
from hpo.study.spec import StudySpec, load_study
from hpo.training.acceleration.gc_freeze import frozen_gc
from hpo.training.acceleration.presets import announce_accelerations, choose_accelerations
from hpo.training.arguments import check_arguments
from hpo.training.checkpoint import load_checkpoint, save_model
from hpo.training.context import RunContext
from hpo.training.measurements import RunMeasurements, TrialEnded
from hpo.training.metrics import METRICS, evaluate_modules, unsuitable_reason
from hpo.training.trainer import RungTrainer

MAX_CONSECUTIVE_ERRORS = 3  # so many trials in a row that end in an error are no property of their values


def check_spec(spec: StudySpec) -> None:
    """Raise SpecError for a sampler, pruner, field or value that cannot be, before data or store are touched."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Under DDP only the first process would hear that a trial is pruned; the others would wait for ever (trap 21).
        raise StudyError("started under torchrun, but a trial runs on one device: start plain `hpo search --workers N`")
    build_pruner(spec)
    try:  # a wrong value of an option may show only when something is drawn
        spec.space.suggest(optuna.create_study(sampler=build_sampler(spec)).ask())
    except (TypeError, ValueError) as error:
        raise option_error(spec, "search.sampler", error) from None
    if reason := unsuitable_reason(spec.objective, classes=2):
        raise spec.error("objective", reason)
    check_arguments(spec)
    if spec.folder.exists() and not spec.folder.is_dir():
        raise spec.error("name", f"is {spec.name!r}, but {spec.folder} is a file; choose another name")


def prepare_context(spec: StudySpec, listener: SearchListener) -> tuple[RunContext, dict[str, Any]]:
    """The task that all trials share, and what the store should know of its data.

    Raises DataError, ModelError, SpecError; the store has not been touched yet.
    """
    data = load_study_data(spec)
    checkpoint = load_checkpoint(spec, data)
    length = spec.model.max_length
    train, validation = (tokenize_split(split, checkpoint.tokenizer, length) for split in (data.train, data.validation))
    notices = [*data.notices, *checkpoint.notices]
    if data.test is None:
        notices.append("no test split: without one (data.test: files, a share, a number of rows) there is no verdict")
    if METRICS[spec.objective].two_classes_only:
        notices.append(f"{spec.objective} counts {data.label_names[1]!r} as the positive class")
    batch = spec.space.parameters.get("per_device_train_batch_size")
    if batch and max(batch.ends) > len(train):
        raise spec.error("space.parameters.per_device_train_batch_size", f"reaches beyond the {len(train)} train rows")
    notices += [text for text in [truncation_notice(train, length)] if text]
    for text in notices:
        listener.notice(text)
    levers = choose_accelerations(spec, checkpoint)
    task = RunContext(spec, checkpoint, train, validation, evaluate_modules(len(data.label_names)), levers)
    return task, {**data.about(), "notices": notices}


@dataclass
class Worker:
    """Runs trials of one study in this process, one after the other."""

    task: RunContext
    storage: optuna.storages.BaseStorage
    study: optuna.Study
    listener: SearchListener
    budget: Budget
    stop: StopSignal = field(default_factory=StopSignal)

    def __post_init__(self) -> None:
        self.spec = self.task.spec
        self.sampler = build_sampler(self.spec)
        self.pruner = build_pruner(self.spec)
        self.best = BestWeights(self.study, self.spec, self.task.direction)
        self.trainer = RungTrainer(self.task, attend=self._attend)
        data = self.study.user_attrs["data"]["fingerprint"]
        made = collect_provenance(self.spec, {})
        self.provenance = {name: made[name] for name in ("spec_hash", "git", "versions", "device")} | {"data": data}

    def run(self) -> None:
        """Trials until the budget is spent. Raises KeyboardInterrupt when asked to stop, with the trial closed."""
        errors = 0
        with self.stop.on_signals(), frozen_gc():
            while self._is_room():
                self.stop.check()
                ended = self._one_trial()
                errors = errors + 1 if trial_state.outcome(ended) in {trial_state.ERROR, trial_state.UNVERIFIED} else 0
                if errors == MAX_CONSECUTIVE_ERRORS:
                    reason = ended.user_attrs["reason"]
                    raise TrainingError(f"{errors} trials in a row failed; the last one: {reason} (-v shows where)")

    def _is_room(self) -> bool:
        """Whether another trial may start; waits where that hangs on a trial whose process may be gone."""
        patience = time.monotonic() + GRACE_PERIOD + 2 * HEARTBEAT_INTERVAL
        while True:
            trial_state.fail_dead_trials(self.study)
            if has_stopped(self.study, self.spec):
                return False
            found = self.study.get_trials(deepcopy=False)
            if self.budget.has_room(found):
                break
            elsewhere = [
                each for each in found if trial_state.outcome(each) == "running" and not trial_state.is_alive_here(each)
            ]
            full = count_finished(found) >= self.budget.trials or not self.budget.has_time()
            if full or not elsewhere or time.monotonic() > patience:
                return False
            self.listener.notice(f"waiting for a sign of life of trial #{elsewhere[0].number}, which runs elsewhere")
            time.sleep(HEARTBEAT_INTERVAL / 2)
            self.stop.check()
        if trial_queue.enqueue_next(self.study, self.spec.space):
            return True
        exhausted = self.sampler.is_exhausted(self.study)
        return not exhausted and not should_stop(self.study, self.spec, len(self.task.validation))

    def _one_trial(self) -> FrozenTrial:
        """One trial through Trainer.hyperparameter_search, which makes or loads the study itself (trap 16)."""
        self._number: int | None = None
        self._reported: set[int] = set()
        try:
            self.trainer.hyperparameter_search(
                hp_space=self.spec.space.suggest,
                compute_objective=lambda scores: scores[f"eval_{self.spec.objective}"],
                n_trials=1,
                direction=self.task.direction,
                backend="optuna",
                study_name=self.spec.name,
                storage=self.storage,
                sampler=self.sampler,
                pruner=self.pruner,
                load_if_exists=True,
                catch=(TrialEnded,),
            )
        except ValueError:
            # Its last line asks for the best trial, and raises where none is complete yet (trap 19).
            if self._number is None or self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                raise
        finally:
            self.stop.in_trial = False
            ended = [trial for trial in self.study.get_trials(deepcopy=False) if trial.number == self._number]
            if ended and trial_state.outcome(ended[0]) != trial_state.SURPLUS:
                self.listener.ends(ended[0], self.study)
        return ended[0]

    def _attend(self, trainer: RungTrainer, trial: optuna.Trial) -> float:
        """Run one trial; whatever happens, the store knows what it was, what it cost, and why it ended."""
        self._number, self._reported, self.stop.in_trial = trial.number, set(), True
        trial.set_user_attr("worker", trial_state.worker_identity())
        everyone = self.study.get_trials(deepcopy=False)
        own = next(each for each in everyone if each.number == trial.number)
        if trial_queue.is_surplus(own, everyone, self.budget.trials):
            trial.set_user_attr("reason", trial_state.SURPLUS)
            raise TrialEnded(trial_state.SURPLUS)
        place = trial_queue.replay_index(own, everyone)
        seed = trial_seed(self.spec.search.seed, place)
        self._remember(trial, {"place": place, "seed": seed, "provenance": self.provenance})
        values = self.trainer.hp_space(trial)
        self.listener.begins(trial.number, values, self.budget)
        trainer.at_rung = partial(self._at_rung, trial)
        trainer.pulse, trainer.notice = self._pulse, self.listener.notice
        try:
            try:
                trainer.run(values, seed, f"trial-{trial.number}")
            finally:
                self._remember(trial, self._known(trainer.record))
            return self._finish(trial, values)
        except BaseException as error:
            trial.set_user_attr("reason", trainer.record.reason(error))
            if isinstance(error, optuna.TrialPruned | TrialEnded | KeyboardInterrupt):
                raise
            trial.set_user_attr("traceback", traceback.format_exc()[-4000:])
            raise TrialEnded(trainer.record.reason(error)) from error

    def _pulse(self, step: int, steps: int, loss: float | None) -> None:
        self.stop.check()
        if self.budget.is_over():
            raise TrialEnded(f"{trial_state.OUT_OF_TIME}: the study's {self.budget.timeout:g} s are spent")
        self.listener.step(step, steps, loss)

    def _at_rung(self, trial: optuna.Trial, rung: int, scores: dict[str, float], is_last: bool) -> None:
        value = scores.get(self.spec.objective, math.nan)
        if not math.isfinite(value):
            raise TrialEnded(f"{trial_state.DIVERGED}: {self.spec.objective} is {value} at rung {rung}")
        self.listener.rung(rung, value)
        # The rest waits for the end: each attribute is a transaction, and a process that is killed tells what it cost.
        self._remember(trial, {"metrics": self.trainer.record.curve, "seconds": self.trainer.record.seconds})
        if rung in self._reported:
            return  # a trial that restarted with smaller batches passes again what Optuna has on record
        self._reported.add(rung)
        trial.report(value, rung)
        if not is_last and trial.should_prune():
            raise optuna.TrialPruned

    def _remember(self, trial: optuna.Trial, known: Mapping[str, Any]) -> None:
        for name, value in known.items():
            trial.set_user_attr(name, value)

    def _known(self, record: RunMeasurements) -> dict[str, Any]:
        """What is told of a run, in full."""
        curve = record.values_of(self.spec.objective)
        known: dict[str, Any] = {
            "effective": record.effective,
            "metrics": record.curve,
            "seconds": record.seconds,
            "steps": record.steps,
            "examples": record.examples,
            "tokens": record.tokens,
            "peak_memory": record.peak_memory,
        }
        if record.split > 1:
            known["batch_split"] = record.split
        if curve:
            better = max if self.task.direction == "maximize" else min
            best = better(curve, key=lambda rung: curve[rung])
            known |= {"last": curve[max(curve)], "best": curve[best], "best_rung": best}
        return known

    def _finish(self, trial: optuna.Trial, values: Mapping[str, Any]) -> float:
        """The trial's value; its weights are kept where no complete trial was better."""
        attributes = trial.user_attrs
        value = float(attributes[self.spec.search.value])
        about = {"trial": trial.number, "place": attributes["place"], "objective": self.spec.objective}
        about |= {"value": value, "values": dict(values), "seed": attributes["seed"]}
        self.best.offer(about, self._save)
        return value

    def _save(self, folder: Path) -> None:
        """The trial's weights, as safetensors, with their tokenizer."""
        save_model(self.trainer.settled(), self.task.checkpoint.tokenizer, folder)


def open_search(
    spec: StudySpec, url: str, listener: SearchListener
) -> tuple[RunContext, optuna.storages.BaseStorage, optuna.Study]:
    """Everything checked and loaded, then the store opened, and the study in it made or found.

    Nothing is written before every input is known to be good.
    """
    check_spec(spec)
    check_storage_url(url)
    storage = open_storage(url) if store_exists(url) else None
    if storage and (stored := find_study(storage, spec.name)):
        check_same_spec(stored, spec)  # a changed file is told before the data are loaded
    task, about = prepare_context(spec, listener)
    storage = storage or open_storage(url)
    made = collect_provenance(spec, about) | {"speed": dict(task.levers)}
    study = open_study(storage, spec, task.direction, made)
    task = replace(task, levers=study.user_attrs.get("speed", {}))  # the study's own, wherever it was begun
    announce_accelerations(spec, task.levers, study, listener.notice)
    # The study's own storage remembers finished trials; Optuna would wrap the other anew, and read all, for each trial.
    return task, study._storage, study


def main() -> None:
    """A worker in a process of its own: `python -m hpo.search.worker`, its orders as JSON on standard input."""
    orders = json.load(sys.stdin)
    spec = load_study(orders["file"], tuple(orders["overrides"]))
    stop = StopSignal(parent=orders["parent"])
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        task, storage, study = open_search(spec, orders["storage"], SearchListener())
        Worker(task, storage, study, SearchListener(), Budget.of(spec.search, study), stop).run()
    except KeyboardInterrupt:
        sys.exit(130)
    except HpoError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
