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

from hpo.data.splits import Split, TextData
from hpo.data.token_cache import TokenizedSplit, tokenize_split
from hpo.errors import StudyError, TrainingError
from hpo.evaluation.predictions import write_predictions
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.scores import score_run
from hpo.evaluation.sealed_split import SealedTestSplit
from hpo.search.preflight import load_study_data
from hpo.search.signals import StopSignal
from hpo.store import trial_state
from hpo.store.provenance import collect_provenance
from hpo.store.storage import (
    check_same_data,
    check_same_spec,
    check_storage_url,
    companion_name,
    find_study,
    open_artifact_store,
    open_storage,
    open_study,
    store_exists,
)
from hpo.study.spec import StudySpec
from hpo.training.acceleration.gc_freeze import frozen_gc
from hpo.training.acceleration.presets import choose_accelerations
from hpo.training.checkpoint import Checkpoint, first_line, load_checkpoint
from hpo.training.measurements import TrialEnded
from hpo.training.metrics import METRICS, Direction, evaluate_modules

if TYPE_CHECKING:
    from hpo.training.trainer import RungTrainer

FINE_TUNE = "fine-tune"
# How runs end that would end so again; a run that ended otherwise is made again.
LASTING_OUTCOMES = {"complete", trial_state.DIVERGED, trial_state.INFEASIBLE}


@dataclass(frozen=True)
class RunKey:
    """What makes a run the one that it is: what is fitted, to which rows, with which values and seed."""

    kind: str  # FINE_TUNE, or a baseline's name
    seed: int
    train_on: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def key(self) -> dict[str, Any]:
        """The same as JSON values, by which it is found again."""
        return {"kind": self.kind, "seed": self.seed, "train_on": self.train_on, "values": dict(self.values)}


@dataclass
class RunOutcome:
    """What one run gives: class probabilities for validation and test, what it cost, and what is worth knowing."""

    validation: NDArray[Any]
    test: NDArray[Any] | None
    seconds: dict[str, float]  # fit, predict, and what else was measured
    about: dict[str, Any] = field(default_factory=dict)


@dataclass
class FinalRuns:
    """What all final runs of a study share: its rows, its checkpoint once that is needed, and the companion study."""

    spec: StudySpec
    data: TextData
    storage: optuna.storages.BaseStorage
    study: optuna.Study  # the companion
    artifacts: FileSystemArtifactStore
    listener: RunListener
    stop: StopSignal = field(default_factory=StopSignal)

    def __post_init__(self) -> None:
        test = self.data.test
        self.held_out = SealedTestSplit(test, self.data.label_names, self.study, self.spec) if test else None
        made = collect_provenance(self.spec, self.data.about())
        self.provenance = {name: made[name] for name in ("spec_hash", "git", "versions", "device")}
        self.provenance["data"] = self.data.fingerprint
        self.data = replace(self.data, test=None)  # from here on its labels are out of everyone's reach

    @property
    def direction(self) -> Direction:
        """Which way the objective is better."""
        return METRICS[self.spec.objective].direction

    @property
    def search(self) -> optuna.Study:
        """The search that the runs belong to. Raises StudyError where it has not begun."""
        found = find_study(self.storage, self.spec.name)
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
    def checkpoint(self) -> Checkpoint:
        """The study's checkpoint."""
        return load_checkpoint(self.spec, self.data)

    @cached_property
    def levers(self) -> dict[str, Any]:
        """What makes the study's runs faster: as its search has it, where that has begun; else decided, and kept."""
        search = find_study(self.storage, self.spec.name)
        is_begun = search is not None or bool(self.study.get_trials(deepcopy=False))
        decided = (search or self.study).user_attrs.get("speed", {} if is_begun else None)
        if decided is None:
            decided = choose_accelerations(self.spec, self.checkpoint)
            self.study.set_user_attr("speed", decided)
        return dict(decided)

    def tokens(self, split: Split) -> TokenizedSplit:
        """A split as the checkpoint's tokens."""
        return tokenize_split(split, self.checkpoint.tokenizer, self.spec.model.max_length)

    @cached_property
    def trainer(self) -> RungTrainer:
        """What fine-tunes, in this process."""
        from hpo.training.context import RunContext
        from hpo.training.trainer import RungTrainer

        modules = evaluate_modules(len(self.data.label_names))
        train, validation = self.tokens(self.train), self.tokens(self.data.validation)
        spec = self.spec
        if spec.final.train_on != "train":  # the best rung on rows that were trained on would be the most overfitted
            spec = spec.model_copy(update={"search": spec.search.model_copy(update={"value": "last"})})
        return RungTrainer(RunContext(spec, self.checkpoint, train, validation, modules, self.levers))

    def find(self, run: RunKey) -> FrozenTrial | None:
        """The stored trial of a run that need not be made again."""
        return find_run(self.study, run)

    def make(self, run: RunKey, system: str, body: Callable[[], RunOutcome]) -> FrozenTrial:
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
        if trial_state.outcome(own[0]) not in LASTING_OUTCOMES:
            raise TrainingError(f"{system}, seed {run.seed}: {own[0].user_attrs['reason']}")
        self.stop.check()
        return own[0]

    def _attend(self, trial: optuna.Trial, run: RunKey, system: str, body: Callable[[], RunOutcome]) -> float:
        """Make one run; whatever happens, the store knows what it was, what it cost, and why it ended."""
        self._number = trial.number
        about = {"run": run.key(), "system": system, "seed": run.seed, "provenance": self.provenance}
        for name, value in {**about, "worker": trial_state.worker_identity()}.items():
            trial.set_user_attr(name, value)
        for name in run.values:
            self.spec.space.parameters[name].suggest(trial, name)
        started = time.monotonic()
        try:
            return self._store(trial, body(), f"{run.kind}: {system}, seed {run.seed}")
        except BaseException as error:
            trial.set_user_attr("seconds", {"wall": time.monotonic() - started})
            if isinstance(error, TrialEnded | KeyboardInterrupt):
                trial.set_user_attr("reason", str(error) or trial_state.INTERRUPTED)
                raise
            reason = f"{type(error).__name__}: {first_line(error)}" if isinstance(error, Exception) else repr(error)
            trial.set_user_attr("reason", f"{trial_state.ERROR}: {reason}")
            trial.set_user_attr("traceback", traceback.format_exc()[-4000:])
            raise TrainingError(f"{system}, seed {run.seed}: {reason} (-v shows where)") from error

    def _store(self, trial: optuna.Trial, outcome: RunOutcome, command: str) -> float:
        """Keep scores, costs and predictions; the trial's value is the objective on validation, whatever test says."""
        names = self.data.label_names
        validation = score_run(np.asarray(self.data.validation.labels), outcome.validation, names)
        value = validation.metrics.get(self.spec.objective)
        if value is None:
            raise TrialEnded(f"{trial_state.DIVERGED}: {self.spec.objective} is no number on validation")
        known = {**outcome.about, "seconds": outcome.seconds, "validation": validation.to_attribute()}
        known["trained_on"] = self.spec.final.train_on
        predicted = len(self.data.validation)
        if self.held_out and outcome.test is not None:
            test, table = self.held_out.reveal(outcome.test, command, trial.number)
            known["test"] = test.to_attribute()
            predicted += len(table)
            write_predictions(trial, table, self.storage, self.artifacts)
        known["predicted_per_second"] = predicted / max(outcome.seconds["predict"], 1e-9)
        for name, content in known.items():
            trial.set_user_attr(name, content)
        return float(value)


@contextmanager
def open_final_runs(spec: StudySpec, url: str, listener: RunListener, searched: bool = False) -> Iterator[FinalRuns]:
    """The final room of a study, for one process at a time; its companion study is made where it is new.

    With `searched` it opens only for a study whose search has begun.

    Raises HpoError for anything the user can mend, before the store is touched.
    """
    from hpo.search.worker import check_spec  # torch and transformers come with it, which a reader of runs does without

    check_spec(spec)
    check_storage_url(url)
    storage = open_storage(url) if store_exists(url) else None
    search = find_study(storage, spec.name) if storage else None
    if searched and search is None:
        raise _no_search(spec)
    if search:
        check_same_spec(search, spec)
    data = load_study_data(spec)
    if search:
        check_same_data(search, spec, data.about())
    else:
        for text in data.notices:
            listener.notice(text)
    if data.test is None:
        listener.notice("no test split: runs are scored on validation only, and hpo compare has nothing to judge by")
    storage = storage or open_storage(url)
    direction = METRICS[spec.objective].direction
    made = collect_provenance(spec, data.about())
    study = open_study(storage, spec, direction, made, companion_name(spec.name))
    trial_state.fail_dead_trials(study)
    spec.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(spec.folder / ".final.lock", timeout=0), frozen_gc():
            yield FinalRuns(spec, data, storage, study, open_artifact_store(url, spec), listener)
    except Timeout:
        raise StudyError(f"another process makes final runs of study {spec.name!r}; wait for it, then go on") from None


def _no_search(spec: StudySpec) -> StudyError:
    return StudyError(f"no study {spec.name!r} in the store; `{spec.command('search')}` comes first")


def predict_splits(
    final: FinalRuns, answers: Callable[[Split], NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[Any] | None, float]:
    """Probabilities for validation and, where there is one, the test split without its labels; and the seconds."""
    started = time.monotonic()
    validation = answers(final.data.validation)
    test = answers(final.held_out.blind) if final.held_out else None
    return validation, test, time.monotonic() - started


def find_run(study: optuna.Study, run: RunKey) -> FrozenTrial | None:
    """The trial of a companion study that is this run, and ended in a way that lasts."""
    key = json.loads(json.dumps(run.key()))
    for trial in study.get_trials(deepcopy=False):
        if trial.user_attrs.get("run") == key and trial_state.outcome(trial) in LASTING_OUTCOMES:
            return trial
    return None
