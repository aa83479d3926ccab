"""The final runs of a study: trials of its companion study, each with scores and predictions, none made twice."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.artifacts import FileSystemArtifactStore
from optuna.samplers import PartialFixedSampler, RandomSampler
from optuna.trial import FrozenTrial

from hpo.atomic import exclusive_lock, sweep_leftovers
from hpo.data.splits import Split, TextData
from hpo.data.token_cache import TokenizedSplit, tokenize_split
from hpo.errors import StudyError, TrainingError
from hpo.evaluation.existing_models import LoadPredictor
from hpo.evaluation.predictions import DamagedPredictionsError, read_predictions, write_predictions
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.saved_runs import remove_saved_run
from hpo.evaluation.scores import score_run
from hpo.evaluation.sealed_split import SealedTestSplit
from hpo.search.preflight import preflight
from hpo.search.setup import check_training, load_context
from hpo.search.signals import StopSignal
from hpo.search.trial_runner import run_provenance, run_trial
from hpo.store import trial_state
from hpo.store.attributes import Seconds, WorkerIdentity, write_attributes
from hpo.store.dead_trials import fail_dead_runs
from hpo.store.optuna_internals import claim_trials_for, storage_of
from hpo.store.outages import announced_outages
from hpo.store.provenance import collect_provenance
from hpo.store.run_record import RunRecord, run_attributes
from hpo.store.storage import (
    artifact_folder,
    check_store_writable,
    find_study,
    no_search_error,
    open_artifact_store,
    open_storage,
    open_study,
)
from hpo.store.study_record import StudyRecord, companion_name, study_attributes
from hpo.store.trial_order import sign
from hpo.store.worker_lock import hold_worker_lock
from hpo.study.spec import StudySpec
from hpo.training.acceleration import choose_accelerations, frozen_gc
from hpo.training.checkpoint import Checkpoint, load_checkpoint
from hpo.training.measurements import RunMeasurements, TrialEnded
from hpo.training.metrics import METRICS, Direction, suitable_metrics

if TYPE_CHECKING:
    from hpo.training.trainer import RungTrainer

FINE_TUNE = "fine-tune"
NO_VALUE = -math.inf  # in place of an objective that is maximized: Optuna knows no complete trial without a value
# Outcomes that another attempt would only repeat; a run that ended otherwise is made again.
LASTING_OUTCOMES = {"complete", trial_state.DIVERGED, trial_state.INFEASIBLE}


@dataclass(frozen=True)
class RunKey:
    """What identifies a run: what is fitted, to which rows, with which hyperparameters and seed."""

    kind: str  # FINE_TUNE, or a baseline's name
    seed: int
    train_on: str
    values: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""  # what a system was that hpo did not train; see system_identity.py

    def key(self) -> dict[str, Any]:
        """Return the key as JSON values, as it is stored with the run."""
        key = {"kind": self.kind, "seed": self.seed, "train_on": self.train_on, "values": dict(self.values)}
        return {**key, "source": self.source} if self.source else key  # runs of earlier versions have none


@dataclass
class RunOutcome:
    """Result of one run: class probabilities for validation and test, its seconds, and other measurements.

    Attributes:
        validation: None for a file of predictions, which has none for validation.
        seconds: Fields of `Seconds`; without `predict`, hpo has not predicted itself.
        about: Further attributes, from `run_attributes`.
        has_probabilities: False if only labels are known; then the arrays are 1 for a row's label and 0 for others.
    """

    validation: NDArray[Any] | None
    test: NDArray[Any] | None
    seconds: dict[str, float]
    about: dict[str, Any] = field(default_factory=dict)
    has_probabilities: bool = True


@dataclass
class FinalRuns:
    """What all final runs of a study share: its rows, its checkpoint if one is needed, and the companion study."""

    spec: StudySpec
    data: TextData
    storage: optuna.storages.BaseStorage
    study: optuna.Study  # the companion
    artifacts: FileSystemArtifactStore
    listener: RunListener
    worker: WorkerIdentity
    tested: Checkpoint | None = None  # the study's checkpoint, if the smoke test has loaded it
    load_predictor: LoadPredictor | None = None  # for baselines that are folders of hpo
    stop: StopSignal = field(default_factory=StopSignal)

    def __post_init__(self) -> None:
        test = self.data.test
        self.held_out = SealedTestSplit(test, self.data.label_names, self.study, self.spec) if test else None
        self.provenance = run_provenance(self.spec, self.data.fingerprint)
        self._is_intact: dict[int, bool] = {}  # number of a run -> whether its predictions can be read
        self.data = replace(self.data, test=None)  # only `held_out` has the test labels from here on

    @property
    def direction(self) -> Direction:
        """Whether the objective is maximized or minimized."""
        return METRICS[self.spec.objective].direction

    @property
    def search(self) -> optuna.Study:
        """The search that the runs belong to. Raises StudyError if it has not begun."""
        search = find_study(self.storage, self.spec.name)
        if search is None:
            raise no_search_error(self.spec)
        return search

    @cached_property
    def train(self) -> Split:
        """The rows that runs are fitted to."""
        train, validation = self.data.train, self.data.validation
        if self.spec.final.train_on == "train":
            return train
        # Row numbers of a split that was carved off train are unique; those of a separate validation file repeat.
        return Split(train.texts + validation.texts, train.labels + validation.labels, train.ids + validation.ids)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The study's checkpoint."""
        return self.tested or load_checkpoint(self.spec, self.data)

    def choose_accelerations(self) -> dict[str, Any]:
        """Return the accelerations of the search, or choose them and store the choice if there is no search.

        A study that was begun by a version without accelerations has none.
        """
        search = find_study(self.storage, self.spec.name)
        stored = StudyRecord.from_attributes((search or self.study).user_attrs).accelerations
        if stored is not None:
            return dict(stored)
        if search is not None or self.study.get_trials(deepcopy=False):
            return {}
        chosen = choose_accelerations(self.spec, self.checkpoint)
        write_attributes(self.study, study_attributes(accelerations=chosen))
        return chosen

    def tokens(self, split: Split) -> TokenizedSplit:
        """Return the tokens of a split."""
        return tokenize_split(split, self.checkpoint.tokenizer, self.spec.model.max_length)

    @cached_property
    def trainer(self) -> RungTrainer:
        """The trainer of all fine-tuned runs of this process."""
        from hpo.training.context import RunContext
        from hpo.training.trainer import RungTrainer

        modules = suitable_metrics(len(self.data.label_names))
        train, validation = self.tokens(self.train), self.tokens(self.data.validation)
        spec = self.spec
        if spec.final.train_on != "train":
            # Validation rows are trained on, so the rung with the best validation score would be the most overfitted.
            spec = spec.model_copy(update={"search": spec.search.model_copy(update={"value": "last"})})
        accelerations = self.choose_accelerations()
        return RungTrainer(RunContext(spec, self.checkpoint, train, validation, modules, accelerations))

    def report_texts(self, verb: str) -> Callable[[int, int], None]:
        """Return a function that takes texts done and texts in all, reports them, and raises if asked to stop."""

        def on_texts(done: int, count: int) -> None:
            self.stop.check()
            self.listener.step(done / count, f"{verb} {done:,} of {count:,}")

        return on_texts

    def find(self, run: RunKey) -> FrozenTrial | None:
        """Return the stored trial of a run, or None if it must be made, again if its predictions are damaged."""
        stored = find_run(self.study, run)
        if stored is not None and stored.number not in self._is_intact:
            try:
                read_predictions(stored, self.storage, self.artifacts)
                self._is_intact[stored.number] = True
            except DamagedPredictionsError as error:
                self.listener.notice(f"{str(error).partition(';')[0]}, so the run is made again")
                self._is_intact[stored.number] = False
        return stored if stored is not None and self._is_intact[stored.number] else None

    def make(self, run: RunKey, system: str, body: Callable[[], RunOutcome]) -> FrozenTrial:
        """Return the stored trial of a run; make the run first if the store does not have it.

        Raises TrainingError if it failed for a reason that its hyperparameters do not explain, and KeyboardInterrupt if
        asked to stop; both are stored.
        """
        if stored := self.find(run):
            self.listener.finds(stored)
            return stored
        self.listener.begins(system, run.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = PartialFixedSampler(dict(run.values), RandomSampler())
        self._number: int | None = None
        try:
            with self.stop.on_signals():
                self.stop.in_trial = True
                # optimize() instead of ask(), because it sends heartbeats, which reveal the run of a dead process.
                self.study.optimize(lambda trial: self._run_one(trial, run, system, body), n_trials=1, catch=TrialEnded)
        finally:
            self.stop.in_trial = False
            # By its number: another machine may add runs to the same study.
            ended = [trial for trial in self.study.get_trials(deepcopy=False) if trial.number == self._number]
            for trial in ended:
                self.listener.ends(trial)
        if trial_state.outcome(ended[0]) in LASTING_OUTCOMES:
            remove_saved_run(self, run)
        else:
            raise TrainingError(f"{system}, seed {run.seed}: {RunRecord.from_trial(ended[0]).reason}")
        self.stop.check()
        return ended[0]

    def _run_one(self, trial: optuna.Trial, run: RunKey, system: str, body: Callable[[], RunOutcome]) -> float:
        """Make one run as a trial of the companion study and return its value."""
        self._number = trial.number
        write_attributes(trial, run_attributes(key=run.key(), system=system, seed=run.seed, provenance=self.provenance))
        for name in run.values:
            self.spec.space.parameters[name].suggest(trial, name)
        started = time.monotonic()

        def make_and_store() -> float:
            try:
                return self._store(trial, run, system, body())
            except BaseException:
                write_attributes(trial, run_attributes(seconds=Seconds(wall=time.monotonic() - started)))
                raise

        def as_failure(reason: str) -> TrainingError:
            problem = reason.removeprefix(f"{trial_state.ERROR}: ")
            return TrainingError(f"{system}, seed {run.seed}: {problem} (-v shows where)")

        return run_trial(
            trial, make_and_store, RunMeasurements().describe_end, as_failure, self.worker, self.spec.report.texts
        )

    def _store(self, trial: optuna.Trial, run: RunKey, system: str, result: RunOutcome) -> float:
        """Store scores, costs and predictions, and return the run's value: the objective on validation, never on test.

        The ledger has its entry before the test labels are used.
        """
        attributes = {**result.about, **run_attributes(seconds=result.seconds, trained_on=run.train_on)}
        value, predicted = NO_VALUE * sign(self.direction), 0
        if result.validation is not None:
            labels = np.asarray(self.data.validation.labels)
            validation = score_run(labels, result.validation, self.data.label_names)
            if self.spec.objective not in validation.metrics:
                raise TrialEnded(f"{trial_state.DIVERGED}: {self.spec.objective} is not a number on validation")
            attributes |= run_attributes(validation=validation)
            value, predicted = validation.metrics[self.spec.objective], len(labels)
        if self.held_out and result.test is not None:
            command = f"{run.kind}: {system}, seed {run.seed}"
            test, table = self.held_out.reveal(result.test, command, trial.number, result.has_probabilities)
            attributes |= run_attributes(test=test)
            predicted += len(table)
            checksum = write_predictions(trial, table, self.storage, self.artifacts)
            attributes |= run_attributes(predictions_sha256=checksum)
        if "predict" in result.seconds:
            speed = predicted / max(result.seconds["predict"], 1e-9)
            attributes |= run_attributes(predicted_per_second=speed)
        write_attributes(trial, attributes)
        return float(value)


@contextmanager
def open_final_runs(
    spec: StudySpec,
    url: str,
    listener: RunListener,
    searched: bool = False,
    uses_checkpoint: bool = True,
    load_predictor: LoadPredictor | None = None,
) -> Iterator[FinalRuns]:
    """Open the final runs of a study for one process at a time; create its companion study if it is new.

    With `searched`, the study's search must have begun. Unless `uses_checkpoint` is false, the checkpoint is loaded and
    gets a smoke test. Baselines that are folders of hpo need `load_predictor`. Raises HpoError for wrong input, before
    the store is written.
    """
    check_store_writable(url)
    checked = preflight(spec, url, needs_search=searched)
    checkpoint = None
    if uses_checkpoint:
        context, _ = load_context(spec, checked.data, lambda text: None)
        checkpoint = context.checkpoint
        check_training(context, checked)
    if not checked.study:  # otherwise the search has shown them
        for text in checked.data.notices:
            listener.notice(text)
    if checked.data.test is None:
        listener.notice("no test split: runs are scored on validation only, and `hpo compare` cannot run")
    storage = storage_of(checked.study) if checked.study else open_storage(url)
    provenance = collect_provenance(spec, checked.data.about())
    study = open_study(storage, spec, METRICS[spec.objective].direction, provenance, companion_name(spec.name))
    fail_dead_runs(study, spec.folder)
    for folder in (spec.folder, artifact_folder(url, spec.file.parent)):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(spec.folder, "final runs", timeout=0))
        except BlockingIOError:
            raise StudyError(
                f"study {spec.name!r}: another process is making its final runs; wait until it has ended"
            ) from None
        sweep_leftovers(spec.folder)
        worker = stack.enter_context(hold_worker_lock(spec.folder)).identity
        claim_trials_for(study, asdict(worker))
        stack.callback(claim_trials_for, study, None)
        stack.enter_context(frozen_gc())
        artifacts = open_artifact_store(url, spec)
        final = FinalRuns(spec, checked.data, storage, study, artifacts, listener, worker, checkpoint, load_predictor)
        stack.enter_context(announced_outages(storage, listener.notice, final.stop.check))
        yield final


def predict_splits(
    final: FinalRuns, predict: Callable[[Split], NDArray[Any]], with_test: bool = True
) -> tuple[NDArray[Any], NDArray[Any] | None, float]:
    """Return probabilities for validation, and for the test split without its labels if it exists; and seconds."""
    started = time.monotonic()
    validation = predict(final.data.validation)
    test = predict(final.held_out.blind) if final.held_out and with_test else None
    return validation, test, time.monotonic() - started


def find_run(study: optuna.Study, run: RunKey) -> FrozenTrial | None:
    """Return the last trial of a companion study that is this run and has an outcome that lasts.

    There are several if the predictions of the earlier ones were damaged.
    """
    key = json.loads(json.dumps(run.key()))  # stored keys have gone through JSON, which turns tuples into lists
    for trial in reversed(study.get_trials(deepcopy=False)):
        if RunRecord.from_trial(trial).key == key and trial_state.outcome(trial) in LASTING_OUTCOMES:
            return trial
    return None
