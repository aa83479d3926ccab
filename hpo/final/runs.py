"""The final runs of a study: each a trial of its companion study, with its scores and predictions; none made twice."""

from __future__ import annotations

import json
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from optuna.artifacts import FileSystemArtifactStore
from optuna.samplers import PartialFixedSampler, RandomSampler
from optuna.trial import FrozenTrial

from hpo.data import tokens
from hpo.data.load import Split, TextData
from hpo.errors import StudyError, TrainingError
from hpo.final import predictions, scores
from hpo.final.ledger import HeldOut
from hpo.final.listener import RunListener
from hpo.search.rows import texts
from hpo.search.stop import Stop
from hpo.study import provenance, store, trials
from hpo.study.spec import StudySpec
from hpo.training import garbage, metrics, speed
from hpo.training import model as checkpoints
from hpo.training.model import first_line
from hpo.training.record import TrialEnded

if TYPE_CHECKING:
    from hpo.training.trainer import RungTrainer

FINE_TUNE = "fine-tune"
# How runs end that would end so again; a run that ended otherwise is made again.
LASTING = {"complete", trials.DIVERGED, trials.INFEASIBLE}


@dataclass(frozen=True)
class Run:
    """What makes a run the one that it is: what is fitted, to which rows, with which values and seed."""

    kind: str  # FINE_TUNE, or a baseline's name
    seed: int
    train_on: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def key(self) -> dict[str, Any]:
        """The same as JSON values, by which it is found again."""
        return {"kind": self.kind, "seed": self.seed, "train_on": self.train_on, "values": dict(self.values)}


@dataclass
class Outcome:
    """What one run gives: class probabilities for validation and test, what it cost, and what is worth knowing."""

    validation: NDArray[Any]
    test: NDArray[Any] | None
    seconds: dict[str, float]  # fit, predict, and what else was measured
    about: dict[str, Any] = field(default_factory=dict)


@dataclass
class Final:
    """What all final runs of a study share: its rows, its checkpoint once that is needed, and the companion study."""

    spec: StudySpec
    data: TextData
    storage: optuna.storages.BaseStorage
    study: optuna.Study  # the companion
    artifacts: FileSystemArtifactStore
    listener: RunListener
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        test = self.data.test
        self.held_out = HeldOut(test, self.data.label_names, self.study, self.spec) if test else None
        made = provenance.provenance(self.spec, self.data.about())
        self.provenance = {name: made[name] for name in ("spec_hash", "git", "versions", "device")}
        self.provenance["data"] = self.data.fingerprint
        self.data = replace(self.data, test=None)  # from here on its labels are out of everyone's reach

    @property
    def direction(self) -> metrics.Direction:
        """Which way the objective is better."""
        return metrics.METRICS[self.spec.objective].direction

    @property
    def search(self) -> optuna.Study:
        """The search that the runs belong to. Raises StudyError where it has not begun."""
        found = store.find_study(self.storage, self.spec.name)
        if found is None:
            raise _no_search(self.spec)
        return found

    @cached_property
    def train(self) -> Split:
        """The rows that runs are fitted to."""
        train, more = self.data.train, self.data.validation
        if self.spec.final.train_on == "train":
            return train
        # Row numbers of a split that was carved off train are its own; where validation is another file they repeat.
        return Split(train.texts + more.texts, train.labels + more.labels, train.ids + more.ids)

    @cached_property
    def checkpoint(self) -> checkpoints.Checkpoint:
        """The study's checkpoint."""
        return checkpoints.load(self.spec, self.data)

    @cached_property
    def levers(self) -> dict[str, Any]:
        """What makes the study's runs faster: as its search has it, where that has begun; else decided, and kept."""
        search = store.find_study(self.storage, self.spec.name)
        is_begun = search is not None or bool(self.study.get_trials(deepcopy=False))
        decided = (search or self.study).user_attrs.get("speed", {} if is_begun else None)
        if decided is None:
            decided = speed.levers(self.spec, self.checkpoint)
            self.study.set_user_attr("speed", decided)
        return dict(decided)

    def tokens(self, split: Split) -> tokens.Tokens:
        """A split as the checkpoint's tokens."""
        return tokens.encode(split, self.checkpoint.tokenizer, self.spec.model.max_length)

    @cached_property
    def trainer(self) -> RungTrainer:
        """What fine-tunes, in this process."""
        from hpo.training.task import Task
        from hpo.training.trainer import RungTrainer

        modules = metrics.modules(len(self.data.label_names))
        train, validation = self.tokens(self.train), self.tokens(self.data.validation)
        spec = self.spec
        if spec.final.train_on != "train":  # the best rung on rows that were trained on would be the most overfitted
            spec = spec.model_copy(update={"search": spec.search.model_copy(update={"value": "last"})})
        return RungTrainer(Task(spec, self.checkpoint, train, validation, modules, self.levers))

    def find(self, run: Run) -> FrozenTrial | None:
        """The stored trial of a run that need not be made again."""
        return find(self.study, run)

    def make(self, run: Run, system: str, body: Callable[[], Outcome]) -> FrozenTrial:
        """The stored trial of a run, made now where it is not there yet.

        Raises TrainingError where it failed for a reason that its values do not explain, and KeyboardInterrupt when
        asked to stop; the store knows of either.
        """
        if found := self.find(run):
            self.listener.finds(found)
            return found
        self.listener.begins(system, run.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = PartialFixedSampler(dict(run.values), RandomSampler())
        self._number: int | None = None
        try:
            with self.stop.on_signals():
                self.stop.in_trial = True
                # optimize() and not ask(): it sends the signs of life by which a dead process's run is seen.
                self.study.optimize(lambda trial: self._attend(trial, run, system, body), n_trials=1, catch=TrialEnded)
        finally:
            self.stop.in_trial = False
            # By its number: on another machine someone may make runs of the same study.
            own = [trial for trial in self.study.get_trials(deepcopy=False) if trial.number == self._number]
            for trial in own:
                self.listener.ends(trial)
        if trials.ending(own[0]) not in LASTING:
            raise TrainingError(f"{system}, seed {run.seed}: {own[0].user_attrs['reason']}")
        self.stop.check()
        return own[0]

    def _attend(self, trial: optuna.Trial, run: Run, system: str, body: Callable[[], Outcome]) -> float:
        """Make one run; whatever happens, the store knows what it was, what it cost, and why it ended."""
        self._number = trial.number
        about = {"run": run.key(), "system": system, "seed": run.seed, "provenance": self.provenance}
        for name, value in {**about, "worker": trials.this_process()}.items():
            trial.set_user_attr(name, value)
        for name in run.values:
            self.spec.space.parameters[name].suggest(trial, name)
        started = time.monotonic()
        try:
            return self._store(trial, body(), f"{run.kind}: {system}, seed {run.seed}")
        except BaseException as error:
            trial.set_user_attr("seconds", {"wall": time.monotonic() - started})
            if isinstance(error, TrialEnded | KeyboardInterrupt):
                trial.set_user_attr("reason", str(error) or trials.INTERRUPTED)
                raise
            reason = f"{type(error).__name__}: {first_line(error)}" if isinstance(error, Exception) else repr(error)
            trial.set_user_attr("reason", f"{trials.ERROR}: {reason}")
            trial.set_user_attr("traceback", traceback.format_exc()[-4000:])
            raise TrainingError(f"{system}, seed {run.seed}: {reason} (-v shows where)") from error

    def _store(self, trial: optuna.Trial, outcome: Outcome, command: str) -> float:
        """Keep scores, costs and predictions; the trial's value is the objective on validation, whatever test says."""
        names = self.data.label_names
        validation = scores.scores(np.asarray(self.data.validation.labels), outcome.validation, names)
        value = validation["metrics"].get(self.spec.objective)
        if value is None:
            raise TrialEnded(f"{trials.DIVERGED}: {self.spec.objective} is no number on validation")
        known = {**outcome.about, "seconds": outcome.seconds, "validation": validation}
        known["trained_on"] = self.spec.final.train_on
        predicted = len(self.data.validation)
        if self.held_out and outcome.test is not None:
            known["test"], table = self.held_out.reveal(outcome.test, command, trial.number)
            predicted += len(table)
            predictions.write(trial, table, self.storage, self.artifacts)
        known["predicted_per_second"] = predicted / max(outcome.seconds["predict"], 1e-9)
        for name, content in known.items():
            trial.set_user_attr(name, content)
        return float(value)


@contextmanager
def opened(spec: StudySpec, url: str, listener: RunListener, searched: bool = False) -> Iterator[Final]:
    """The final room of a study, for one process at a time; its companion study is made where it is new.

    With `searched` it opens only for a study whose search has begun.

    Raises HpoError for anything the user can mend, before the store is touched.
    """
    from hpo.search import worker  # torch and transformers come with it, which a reader of runs does without

    worker.check(spec)
    store.check_url(url)
    storage = store.open_storage(url) if store.exists(url) else None
    search = store.find_study(storage, spec.name) if storage else None
    if searched and search is None:
        raise _no_search(spec)
    if search:
        store.check_unchanged(search, spec)
    data = texts(spec)
    if search:
        store.check_data(search, spec, data.about())
    else:
        for text in data.notices:
            listener.notice(text)
    if data.test is None:
        listener.notice("no test split: runs are scored on validation only, and hpo compare has nothing to judge by")
    storage = storage or store.open_storage(url)
    direction = metrics.METRICS[spec.objective].direction
    made = provenance.provenance(spec, data.about())
    study = store.open_study(storage, spec, direction, made, store.final_name(spec.name))
    trials.close_dead(study)
    spec.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(spec.folder / ".final.lock", timeout=0), garbage.only_new():
            yield Final(spec, data, storage, study, store.artifacts(url, spec), listener)
    except Timeout:
        raise StudyError(f"another process makes final runs of study {spec.name!r}; wait for it, then go on") from None


def _no_search(spec: StudySpec) -> StudyError:
    return StudyError(f"no study {spec.name!r} in the store; `{spec.command('search')}` comes first")


def predict(final: Final, answers: Callable[[Split], NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any] | None, float]:
    """Probabilities for validation and, where there is one, the test split without its labels; and the seconds."""
    started = time.monotonic()
    validation = answers(final.data.validation)
    test = answers(final.held_out.blind) if final.held_out else None
    return validation, test, time.monotonic() - started


def find(study: optuna.Study, run: Run) -> FrozenTrial | None:
    """The trial of a companion study that is this run, and ended in a way that lasts."""
    key = json.loads(json.dumps(run.key()))
    for trial in study.get_trials(deepcopy=False):
        if trial.user_attrs.get("run") == key and trials.ending(trial) in LASTING:
            return trial
    return None
