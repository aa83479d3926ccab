"""One worker: runs trials through Trainer.hyperparameter_search until the budget is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hpo.disk_errors import is_disk_full
from hpo.errors import StoreError, TrainingError, list_causes
from hpo.search.best_weights import BestWeights, WeightsInfo
from hpo.search.budget import Budget, count_finished
from hpo.search.pruners import build_pruner
from hpo.search.samplers import build_sampler, is_exhausted, trial_seed
from hpo.search.saved_trials import build_trial_saver, remove_saved_trial, sweep_saved_trials
from hpo.search.search_listener import SearchListener
from hpo.search.signals import StopSignal
from hpo.search.stopping_rule import has_stopped, should_stop
from hpo.search.trial_runner import run_provenance, run_trial
from hpo.search.trial_trainer import BuildTrainer, TrialTrainer, build_rung_trainer
from hpo.search.trial_watch import TrialWatch
from hpo.store import trial_queue, trial_state
from hpo.store.attributes import write_attributes
from hpo.store.claiming_storage import TrialLost
from hpo.store.database import GRACE_PERIOD, HEARTBEAT_INTERVAL
from hpo.store.dead_trials import is_worker_alive, release_dead_trials
from hpo.store.optuna_internals import claim_trials_for, is_trial_lost
from hpo.store.outages import announced_outages
from hpo.store.study_record import StudyRecord
from hpo.store.trial_order import best_rung
from hpo.store.trial_record import TrialRecord, trial_attributes
from hpo.store.worker_lock import hold_worker_lock
from hpo.training.measurements import TrialEnded, TrialStopped

if TYPE_CHECKING:
    from hpo.training.context import RunContext

MAX_CONSECUTIVE_ERRORS = 3  # this many failures in a row point to the setup, not to the hyperparameters


class StoreAway(BaseException):
    """The store is away for too long, or damaged. The trial can continue later, so Optuna must not fail it."""

    def __init__(self, error: StoreError) -> None:
        self.error = error


@contextmanager
def _pausing_if_interrupted() -> Iterator[None]:
    """Raise TrialStopped for KeyboardInterrupt, at which a reason would be stored and Optuna would fail the trial."""
    try:
        yield
    except KeyboardInterrupt:
        raise TrialStopped(trial_state.INTERRUPTED) from None


@dataclass
class Worker:
    """Runs trials of one study in this process, one after the other."""

    context: RunContext
    storage: BaseStorage
    study: optuna.Study
    listener: SearchListener
    budget: Budget
    stop: StopSignal = field(default_factory=StopSignal)
    sampler: BaseSampler | None = None  # by default the one that the study file names
    pruner: BasePruner | None = None
    build_trainer: BuildTrainer = build_rung_trainer

    def __post_init__(self) -> None:
        self.spec = self.context.spec
        self.sampler = build_sampler(self.spec, self.sampler)
        self.pruner = build_pruner(self.spec, self.pruner)
        self.best_weights = BestWeights(self.study, self.spec, self.context.direction)
        self.trainer = self.build_trainer(self.context, self._run_one_trial)
        data = StudyRecord.from_attributes(self.study.user_attrs).data
        self.provenance = run_provenance(self.spec, data.fingerprint if data else "")
        self._waited_for: set[int] = set()  # numbers of trials for which the wait was announced

    def run(self) -> None:
        """Run trials until the budget is spent. Raises KeyboardInterrupt, with the trial paused, if asked to stop."""
        errors = 0
        with hold_worker_lock(self.spec.folder) as lock, self.stop.on_signals(lock.note_stop_request):
            self.watch = TrialWatch(self.study, lock, self.stop, self.budget, self.listener)
            claim_trials_for(self.study, asdict(lock.identity))
            sweep_saved_trials(self.spec, self.study)
            try:
                with announced_outages(self.storage, check_stop=self.stop.check):
                    while self._is_room():
                        self.stop.check()
                        if (trial := self._run_next()) is None:
                            continue
                        is_error = trial_state.outcome(trial) in {trial_state.ERROR, trial_state.UNVERIFIED}
                        errors = errors + 1 if is_error else 0
                        if errors == MAX_CONSECUTIVE_ERRORS:
                            reason = TrialRecord.from_trial(trial).reason
                            raise TrainingError(
                                f"{errors} trials in a row failed; the last one: {reason} (-v shows where)"
                            )
            finally:
                claim_trials_for(self.study, None)

    def _is_room(self) -> bool:
        """Whether a trial may start or continue. Waits if that depends on a trial whose worker may be dead."""
        deadline = time.monotonic() + GRACE_PERIOD + 2 * HEARTBEAT_INTERVAL
        while True:
            self._release_dead_trials()
            if has_stopped(self.study, self.spec):
                return False
            trials = self.study.get_trials(deepcopy=False)
            if self.budget.has_room(trials):
                break
            unknown = [
                trial
                for trial in trials
                if trial_state.outcome(trial) == "running" and is_worker_alive(trial, self.spec.folder) is None
            ]
            is_spent = count_finished(trials) >= self.budget.trials or not self.budget.has_time()
            if is_spent or not unknown or time.monotonic() > deadline:
                return False
            self._notice_waiting(unknown[0].number)
            time.sleep(HEARTBEAT_INTERVAL / 2)
            self.stop.check()
        if trial_queue.enqueue_next(self.study, self.spec.space):
            return True
        assert self.sampler
        is_done = is_exhausted(self.sampler, self.study, self.spec.space)
        return not is_done and not should_stop(self.study, self.spec, len(self.context.validation))

    def _release_dead_trials(self) -> None:
        for dead in release_dead_trials(self.study, self.spec.folder):
            if dead.given_up:
                self.listener.notice(f"trial #{dead.number} is given up: it {dead.given_up}")

    def _notice_waiting(self, number: int) -> None:
        if number not in self._waited_for:
            self._waited_for.add(number)
            self.listener.notice(f"waiting for the heartbeat of trial #{number}, which runs in another process")

    def _run_next(self) -> FrozenTrial | None:
        """Run one trial and return it; None if another worker has taken it over in between.

        Raises KeyboardInterrupt, with the trial paused, if asked to stop.
        """
        self.watch.number = None
        self.watch.lock.has_trial = True
        # From here on a signal is handled at the next step: an exception while Optuna starts its heartbeat thread, or
        # between the row of the trial and the code that pauses it, would leave them behind.
        self.stop.in_trial, self.stop.trial = True, None
        try:
            self._search_one()
            is_lost = is_trial_lost(self.study)
        except (TrialStopped, KeyboardInterrupt) as stopped:
            paused = self.watch.pause(str(stopped) or trial_state.INTERRUPTED)
            self.watch.lock.has_trial = False
            if paused is not None:
                self.listener.ends(paused, self.study)
            if paused is None or not str(stopped).startswith(trial_state.OUT_OF_TIME):
                raise KeyboardInterrupt from None
            return paused
        except TrialLost:
            is_lost = True
        except StoreAway as away:
            raise away.error from None
        except Exception:
            # Optuna cannot end a trial that somebody else has ended or taken over, and fails in various ways.
            if not (is_lost := is_trial_lost(self.study)):
                raise
        finally:
            self.stop.in_trial = False
        self.watch.lock.has_trial = False
        if is_lost:
            number = self.watch.number
            self.listener.notice(f"trial #{number} was taken over by another worker, or was ended; taking the next one")
            return None
        ended = self.watch.find_trial()
        remove_saved_trial(self.spec, ended.number)
        if trial_state.outcome(ended) != trial_state.SURPLUS:
            self.listener.ends(ended, self.study)
        return ended

    def _search_one(self) -> None:
        """Run one trial through Trainer.hyperparameter_search, which loads the study itself (pitfall 16)."""
        try:
            self.trainer.hyperparameter_search(
                hp_space=self.spec.space.suggest,
                compute_objective=lambda scores: scores[f"eval_{self.spec.objective}"],
                n_trials=1,
                direction=self.context.direction,
                backend="optuna",
                study_name=self.spec.name,
                storage=self.storage,
                sampler=self.sampler,
                pruner=self.pruner,
                load_if_exists=True,
                catch=(TrialEnded,),
            )
        except ValueError:
            # Its last line asks Optuna for the best trial, which raises if no trial is complete yet (pitfall 19).
            if self.watch.number is None or self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                raise
        except Exception as error:
            # If Optuna is interrupted while it ends a trial, or the store is away, it raises UnboundLocalError instead.
            for cause in list_causes(error):
                if isinstance(cause, StoreError):
                    raise StoreAway(cause) from None
                if isinstance(cause, KeyboardInterrupt):
                    raise cause from None
            raise

    @_pausing_if_interrupted()
    def _run_one_trial(self, trainer: TrialTrainer, trial: optuna.Trial) -> float:
        """Run one trial of hyperparameter_search and return its value."""
        self.watch.begin(trial.number)
        try:
            return run_trial(
                trial,
                lambda: self._train(trainer, trial),
                lambda error: trainer.measurements.describe_end(error),
                TrialEnded,
                self.watch.lock.identity,
                self.spec.report.texts,
            )
        except StoreError as error:  # Optuna would fail the trial
            raise StoreAway(error) from error

    @_pausing_if_interrupted()
    def _train(self, trainer: TrialTrainer, trial: optuna.Trial) -> float:
        trials = self.study.get_trials(deepcopy=False)
        stored = next(other for other in trials if other.number == trial.number)
        if trial_queue.is_surplus(stored, trials, self.budget.trials):
            raise TrialEnded(trial_state.SURPLUS)
        index = trial_queue.replay_index(stored, trials)
        seed = trial_seed(self.spec.search.seed, index)
        write_attributes(trial, trial_attributes(replay_index=index, seed=seed, provenance=self.provenance))
        if trial_state.read_reason(stored):  # of its pause
            write_attributes(trial, trial_attributes(reason=None))
        values = self.trainer.hp_space(trial)
        self.stop.trial = trial.number
        self.listener.begins(trial.number, values, self.budget)
        self._reported = set(stored.intermediate_values)
        # The worker may have died between the report of a rung and the decision of the pruner, which is made again.
        self._undecided = max(self._reported, default=None)
        trainer.on_rung = partial(self._on_rung, trial)
        trainer.on_progress = partial(self._on_progress, trainer)
        trainer.notice = self.listener.notice
        saver = build_trial_saver(
            self.spec, stored, values, seed, self.provenance, self.listener.notice, self.watch.check_owner
        )
        try:
            trainer.run(values, seed, saver.identity.run, saver)
        finally:
            summary = self._summarize_curve(trainer)
            write_attributes(trial, trainer.measurements.to_attributes() | trial_attributes(**summary))
        value = float(summary[self.spec.search.value])
        objective = self.spec.objective
        info = WeightsInfo(trial.number, index, objective, value, dict(values), seed)
        try:
            self.best_weights.keep_if_best(info, trainer.save_weights)
        except Exception as error:
            if not is_disk_full(error):
                raise
            # The score has cost the training; the weights can be trained again.
            self.listener.notice(
                f"trial #{trial.number}: no space is left for its weights; its score is kept, and `hpo retrain` trains "
                "them again"
            )
        return value

    def _on_progress(self, trainer: TrialTrainer, step: int, steps: int, loss: float | None) -> None:
        self.watch.on_progress(step, steps, loss, trainer.wall_seconds())

    def _on_rung(self, trial: optuna.Trial, rung: int, scores: dict[str, float], is_last: bool) -> None:
        value = scores.get(self.spec.objective, math.nan)
        if not math.isfinite(value):
            raise TrialEnded(f"{trial_state.DIVERGED}: {self.spec.objective} is {value} at rung {rung}")
        self.listener.rung(rung, value)
        # Each attribute is a transaction, so most of them wait for the end. These two do not: if the process is killed,
        # the store still has the scores and what they cost.
        record = self.trainer.measurements
        write_attributes(trial, trial_attributes(curve=record.curve, seconds=record.seconds))
        if rung not in self._reported:
            self._reported.add(rung)
            trial.report(value, rung)
        elif rung != self._undecided:
            return  # a trial that started again passes rungs that Optuna already has
        self._undecided = None
        if not is_last and trial.should_prune():
            raise optuna.TrialPruned

    def _summarize_curve(self, trainer: TrialTrainer) -> dict[str, Any]:
        """Return the fields of a TrialRecord that sum up the curve of the objective; none before the first rung."""
        curve = trainer.measurements.values_of(self.spec.objective)
        if not curve:
            return {}
        best = best_rung(curve, self.context.direction)
        return {"last": curve[max(curve)], "best": curve[best], "best_rung": best}
