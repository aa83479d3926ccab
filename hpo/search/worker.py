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

from hpo.data import tokens
from hpo.errors import HpoError, StudyError, TrainingError
from hpo.search import noise, pruners, samplers
from hpo.search.best import Best
from hpo.search.budget import Budget, finished
from hpo.search.listener import Listener
from hpo.search.rows import texts
from hpo.search.stop import Stop
from hpo.study import provenance, store, trials
from hpo.study.spec import StudySpec, load
from hpo.training import arguments, garbage, metrics, speed
from hpo.training import model as checkpoints
from hpo.training.record import Record, TrialEnded
from hpo.training.task import Task
from hpo.training.trainer import RungTrainer

MOST_ERRORS = 3  # so many trials in a row that end in an error are no property of their values


def check(spec: StudySpec) -> None:
    """Raise SpecError for a sampler, pruner, field or value that cannot be, before data or store are touched."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Under DDP only the first process would hear that a trial is pruned; the others would wait for ever (trap 21).
        raise StudyError("started under torchrun, but a trial runs on one device: start plain `hpo search --workers N`")
    pruners.build(spec)
    try:  # a wrong value of an option may show only when something is drawn
        spec.space.suggest(optuna.create_study(sampler=samplers.build(spec)).ask())
    except (TypeError, ValueError) as error:
        raise samplers.option_error(spec, "search.sampler", error) from None
    if reason := metrics.reason_against(spec.objective, classes=2):
        raise spec.error("objective", reason)
    arguments.check(spec)
    if spec.folder.exists() and not spec.folder.is_dir():
        raise spec.error("name", f"is {spec.name!r}, but {spec.folder} is a file; choose another name")


def prepare(spec: StudySpec, listener: Listener) -> tuple[Task, dict[str, Any]]:
    """The task that all trials share, and what the store should know of its data.

    Raises DataError, ModelError, SpecError; the store has not been touched yet.
    """
    data = texts(spec)
    checkpoint = checkpoints.load(spec, data)
    length = spec.model.max_length
    train, validation = (tokens.encode(split, checkpoint.tokenizer, length) for split in (data.train, data.validation))
    notices = [*data.notices, *checkpoint.notices]
    if data.test is None:
        notices.append("no test split: without one (data.test: files, a share, a number of rows) there is no verdict")
    if metrics.METRICS[spec.objective].two_classes_only:
        notices.append(f"{spec.objective} counts {data.label_names[1]!r} as the positive class")
    batch = spec.space.parameters.get("per_device_train_batch_size")
    if batch and max(batch.ends) > len(train):
        raise spec.error("space.parameters.per_device_train_batch_size", f"reaches beyond the {len(train)} train rows")
    notices += [text for text in [tokens.notice(train, length)] if text]
    for text in notices:
        listener.notice(text)
    levers = speed.levers(spec, checkpoint)
    task = Task(spec, checkpoint, train, validation, metrics.modules(len(data.label_names)), levers)
    return task, {**data.about(), "notices": notices}


@dataclass
class Worker:
    """Runs trials of one study in this process, one after the other."""

    task: Task
    storage: optuna.storages.BaseStorage
    study: optuna.Study
    listener: Listener
    budget: Budget
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        self.spec = self.task.spec
        self.sampler = samplers.build(self.spec)
        self.pruner = pruners.build(self.spec)
        self.best = Best(self.study, self.spec, self.task.direction)
        self.trainer = RungTrainer(self.task, attend=self._attend)
        data = self.study.user_attrs["data"]["fingerprint"]
        made = provenance.provenance(self.spec, {})
        self.provenance = {name: made[name] for name in ("spec_hash", "git", "versions", "device")} | {"data": data}

    def run(self) -> None:
        """Trials until the budget is spent. Raises KeyboardInterrupt when asked to stop, with the trial closed."""
        errors = 0
        with self.stop.on_signals(), garbage.only_new():
            while self._is_room():
                self.stop.check()
                ended = self._one_trial()
                errors = errors + 1 if trials.ending(ended) in {trials.ERROR, trials.UNPROVEN} else 0
                if errors == MOST_ERRORS:
                    reason = ended.user_attrs["reason"]
                    raise TrainingError(f"{errors} trials in a row failed; the last one: {reason} (-v shows where)")

    def _is_room(self) -> bool:
        """Whether another trial may start; waits where that hangs on a trial whose process may be gone."""
        patience = time.monotonic() + store.GRACE + 2 * store.HEARTBEAT
        while True:
            trials.close_dead(self.study)
            if noise.has_stopped(self.study, self.spec):
                return False
            found = self.study.get_trials(deepcopy=False)
            if self.budget.has_room(found):
                break
            elsewhere = [each for each in found if trials.ending(each) == "running" and not trials.lives_here(each)]
            full = finished(found) >= self.budget.trials or not self.budget.has_time()
            if full or not elsewhere or time.monotonic() > patience:
                return False
            self.listener.notice(f"waiting for a sign of life of trial #{elsewhere[0].number}, which runs elsewhere")
            time.sleep(store.HEARTBEAT / 2)
            self.stop.check()
        if trials.queue(self.study, self.spec.space):
            return True
        exhausted = self.sampler.is_exhausted(self.study)
        return not exhausted and not noise.stops(self.study, self.spec, len(self.task.validation))

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
            if ended and trials.ending(ended[0]) != trials.SURPLUS:
                self.listener.ends(ended[0], self.study)
        return ended[0]

    def _attend(self, trainer: RungTrainer, trial: optuna.Trial) -> float:
        """Run one trial; whatever happens, the store knows what it was, what it cost, and why it ended."""
        self._number, self._reported, self.stop.in_trial = trial.number, set(), True
        trial.set_user_attr("worker", trials.this_process())
        everyone = self.study.get_trials(deepcopy=False)
        own = next(each for each in everyone if each.number == trial.number)
        if trials.is_surplus(own, everyone, self.budget.trials):
            trial.set_user_attr("reason", trials.SURPLUS)
            raise TrialEnded(trials.SURPLUS)
        place = trials.place(own, everyone)
        seed = samplers.trial_seed(self.spec.search.seed, place)
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
            raise TrialEnded(f"{trials.OUT_OF_TIME}: the study's {self.budget.timeout:g} s are spent")
        self.listener.step(step, steps, loss)

    def _at_rung(self, trial: optuna.Trial, rung: int, scores: dict[str, float], is_last: bool) -> None:
        value = scores.get(self.spec.objective, math.nan)
        if not math.isfinite(value):
            raise TrialEnded(f"{trials.DIVERGED}: {self.spec.objective} is {value} at rung {rung}")
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

    def _known(self, record: Record) -> dict[str, Any]:
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
        checkpoints.save(self.trainer.settled(), self.task.checkpoint.tokenizer, folder)


def open_search(
    spec: StudySpec, url: str, listener: Listener
) -> tuple[Task, optuna.storages.BaseStorage, optuna.Study]:
    """Everything checked and loaded, then the store opened, and the study in it made or found.

    Nothing is written before every input is known to be good.
    """
    check(spec)
    store.check_url(url)
    storage = store.open_storage(url) if store.exists(url) else None
    if storage and (stored := store.find_study(storage, spec.name)):
        store.check_unchanged(stored, spec)  # a changed file is told before the data are loaded
    task, about = prepare(spec, listener)
    storage = storage or store.open_storage(url)
    made = provenance.provenance(spec, about) | {"speed": dict(task.levers)}
    study = store.open_study(storage, spec, task.direction, made)
    task = replace(task, levers=study.user_attrs.get("speed", {}))  # the study's own, wherever it was begun
    speed.tell(spec, task.levers, study, listener.notice)
    # The study's own storage remembers finished trials; Optuna would wrap the other anew, and read all, for each trial.
    return task, study._storage, study


def main() -> None:
    """A worker in a process of its own: `python -m hpo.search.worker`, its orders as JSON on standard input."""
    orders = json.load(sys.stdin)
    spec = load(orders["file"], tuple(orders["overrides"]))
    stop = Stop(parent=orders["parent"])
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        task, storage, study = open_search(spec, orders["storage"], Listener())
        Worker(task, storage, study, Listener(), Budget.of(spec.search, study), stop).run()
    except KeyboardInterrupt:
        sys.exit(130)
    except HpoError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
