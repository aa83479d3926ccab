"""The one Trainer subclass: fresh arguments, rungs, pruning, true values, memory given back."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import partial
from typing import Any

import numpy as np
import psutil
import torch
from accelerate.utils.memory import should_reduce_batch_size
from transformers import PrinterCallback, Trainer, TrainerCallback

from hpo.store.trial_state import DIVERGED, INFEASIBLE, UNVERIFIED
from hpo.training import trackers
from hpo.training.acceleration.counters import DeviceCounters
from hpo.training.acceleration.malloc import keep_freed_memory, release_freed_memory
from hpo.training.acceleration.session import AccelerationSession
from hpo.training.arguments import build_arguments, next_batch_split, output_folder, select_model_fields
from hpo.training.checkpoint import remove_accelerate_wrappers
from hpo.training.context import RunContext
from hpo.training.loss import CrossEntropy
from hpo.training.measurements import RunMeasurements, TrialEnded
from hpo.training.metrics import score_logits
from hpo.training.rungs import rung_steps
from hpo.training.verification import find_mismatch, read_effective_values


class _OutOfMemory(TrialEnded):
    """An attempt that did not fit into memory; the run starts again and takes less."""


class RungTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """Trainer that is made anew for each run, evaluates at rungs, and proves what it ran with.

    `attend(trainer, trial)` runs one trial of Trainer.hyperparameter_search and returns its value.
    `pulse(step, steps, loss)` is called after every training step and evaluation batch; it may raise to stop the run.
    `notice(text)` hears what the user should know.
    """

    def __init__(
        self,
        task: RunContext,
        attend: Callable[[RungTrainer, Any], float] | None = None,
        shortcuts: AccelerationSession | None = None,
    ) -> None:
        self.task = task
        self.attend = attend
        self.record: RunMeasurements = RunMeasurements()
        self.accumulated: int = 1  # batches per optimizer step, as seen
        self.at_rung: Callable[[int, dict[str, float], bool], None] = lambda rung, scores, is_last: None
        self.pulse: Callable[[int, int, float | None], None] = lambda step, steps, loss: None
        self.notice: Callable[[str], None] = lambda text: None
        self._shortcuts = shortcuts or AccelerationSession(task.spec)
        self._renew({}, seed=0)

    def train(self, resume_from_checkpoint: Any = None, trial: Any = None, **_: Any) -> Any:
        """What Trainer.hyperparameter_search calls for each trial; sets `objective`."""
        if self.attend is None:
            raise TypeError("a RungTrainer without attend() runs no trials; call run()")
        self.objective = self.attend(self, trial)

    def run(self, values: Mapping[str, Any], seed: int, name: str = "") -> RunMeasurements:
        """Train once with these values and this seed; the record also stays in `self.record`.

        A run that has a name is followed by the study's trackers under it.

        Out of memory, the run starts again, first without what recorded passes take, then with half the device batch
        and twice the accumulation. Raises TrialEnded where the loss is not finite, a value did not reach the run, or
        not even one example fits.
        """
        self.record = RunMeasurements()
        self.best_state: dict[str, torch.Tensor] | None = None
        values = {**self.task.levers, **values}
        while True:
            with suppress(_OutOfMemory), self._followed(values, name) as callbacks:
                self._attempt(values, seed, name, callbacks)
                return self.record
            batch = build_arguments(self.task.spec, values).per_device_train_batch_size
            split = self.record.split
            smaller = split if self._shortcuts.spare_memory() else next_batch_split(batch, split)
            if smaller is None:
                raise TrialEnded(f"{INFEASIBLE}: out of memory with one example at a time")
            self.record = RunMeasurements(split=smaller, lost=self.record.lost + self.record.seconds["wall"])

    def settled(self) -> Any:
        """The run's model as its value stands for it (the best rung's weights, or the last), free of wrappers."""
        if self.best_state is not None:
            self.model.load_state_dict(self.best_state)
        remove_accelerate_wrappers(self.model)
        return self.model

    def _attempt(self, values: Mapping[str, Any], seed: int, name: str, callbacks: Sequence[Any]) -> None:
        """Train once. Raises _OutOfMemory where memory ran out."""
        self._started, self._evaluating, self.tally = time.monotonic(), 0.0, DeviceCounters(torch.device("cpu"))
        try:
            self._renew(values, seed, output_folder(self.task.spec, name))
            self._values = values
            for callback in callbacks:
                self.add_callback(callback)
            keep_freed_memory()
            with ExitStack() as self._while_training:
                super().train()
        except Exception as error:
            if not (isinstance(error, torch.OutOfMemoryError | MemoryError) or should_reduce_batch_size(error)):
                raise
            error.__traceback__ = None  # its frames hold the tensors that did not fit
            batch = self.args.per_device_train_batch_size
            raise _OutOfMemory(f"{INFEASIBLE}: out of memory in batches of {batch}") from None
        finally:
            self._close()

    def _followed(self, values: Mapping[str, Any], name: str) -> AbstractContextManager[list[Any]]:
        """Callbacks that send what is logged to the study's trackers, where the run has a name; closed at the end."""
        if not name:
            return nullcontext([])
        return trackers.tracked(trackers.TrackedRun(self.task.spec, name, values), self.notice, self.record.reason)

    def _renew(self, values: Mapping[str, Any], seed: int, output: str = "") -> None:
        """Become a new Trainer: fresh arguments, accelerator, callbacks and seed (traps 2, 5, 6, 7, 12).

        hyperparameter_search holds this very object and has put its own settings on it, so it is made anew in place.
        """
        search = {name: getattr(self, name, None) for name in ("hp_search_backend", "hp_name")}
        changes = select_model_fields({**self.task.spec.fixed, **values})
        args = build_arguments(self.task.spec, values, seed, self.record.split, output)
        args._n_gpu = min(args.n_gpu, 1)  # Trainer would spread a batch over all GPUs; a trial has one
        args.per_device_eval_batch_size = max(1, args.per_device_eval_batch_size // self.record.split)
        super().__init__(
            model_init=lambda: self.task.checkpoint.fresh(changes),
            args=args,
            data_collator=self._shortcuts.padding(self.task.checkpoint.tokenizer, args.device),
            train_dataset=self.task.train,
            eval_dataset=self.task.validation,
            processing_class=self.task.checkpoint.tokenizer,
            compute_loss_func=CrossEntropy(args.label_smoothing_factor),
            compute_metrics=self._scores,
            preprocess_logits_for_metrics=lambda out, labels: out[0] if isinstance(out, tuple) else out,
            callbacks=[_Rungs(self)],
        )
        self.remove_callback(PrinterCallback)
        for name, value in search.items():
            setattr(self, name, value)
        self.rungs: dict[int, int] = {}
        self.accumulated = 1
        self.tally = DeviceCounters(args.device)
        self._process = psutil.Process()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    @property
    def updates_per_epoch(self) -> int:
        """Optimizer steps that the live loader makes of one pass over the data."""
        batches = len(self.callback_handler.train_dataloader)
        return math.ceil(batches / int(self.args.gradient_accumulation_steps))

    def call_model_init(self, trial: Any = None) -> Any:
        """The run's model, made after the last one is let go: a model of another config does not reuse it."""
        self.model: Any = None
        self.model_wrapped = None
        if hasattr(self, "callback_handler"):
            self.callback_handler.model = None
        return super().call_model_init(trial)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        """The order in which validation is read."""
        return self._shortcuts.order(eval_dataset) or super()._get_eval_sampler(eval_dataset)

    def take_shortcuts(self, optimizer: Any) -> None:
        """Train by the short ways until the run ends."""
        two = self.data_collator([self.task.train[0], self.task.train[len(self.task.train) - 1]])
        # An optimizer of another kind may act while gradients come to be, and fp16's scale is another in each run.
        is_plain = type(optimizer).__module__.startswith("torch.optim") and not self.args.fp16
        recorded = self.args.per_device_train_batch_size if is_plain else 0
        self._while_training.enter_context(self._shortcuts.training(self.model, two, self._values, recorded))

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass; a loss that is not finite ends the run where it is read."""
        self.record.device_batch = max(self.record.device_batch, len(inputs["labels"]))
        self.accumulated = max(self.accumulated, self.current_gradient_accumulation_steps)
        with self._shortcuts.kernels(self.args.device):
            loss = self._shortcuts.one_pass(partial(super().training_step, model), inputs, num_items_in_batch)
        self.tally.add(inputs, loss)
        step = self.state.global_step + 1
        scale = self.accumulated if num_items_in_batch is not None else 1  # a part of the step's loss, or a mean
        self.tally.look(step, loss * scale, step in self.rungs)
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Trainer's evaluation, its seconds counted apart from training's."""
        started = time.monotonic()
        try:
            with self._shortcuts.kernels(self.args.device):
                return super().evaluate(*args, **kwargs)  # type: ignore[no-any-return]
        finally:
            self._evaluating += time.monotonic() - started

    def _scores(self, prediction: Any) -> dict[str, float]:
        if not np.isfinite(prediction.predictions).all():
            raise TrialEnded(f"{DIVERGED}: the logits on validation are not finite at step {self.state.global_step}")
        return score_logits(self.task.modules, prediction.predictions, prediction.label_ids)

    def _prove(self) -> None:
        """Read the live values back into the record. Raises TrialEnded where one is not what was sampled."""
        live = read_effective_values(self, self._values)
        self.record.effective |= live
        if problem := find_mismatch(self, self._values, live):
            raise TrialEnded(f"{UNVERIFIED}: {problem}")

    def note_memory(self) -> None:
        """Bring the record's peak of memory up to now."""
        used = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else self._process.memory_info().rss
        self.record.peak_memory = max(self.record.peak_memory, used)

    def _remember_best(self, rung: int) -> None:
        """Keep the weights of the best rung, where that is the run's value: the score and its weights stay together."""
        curve = self.record.values_of(self.task.spec.objective)
        better = max if self.task.direction == "maximize" else min
        if better(curve, key=lambda each: curve[each]) == rung:
            self.best_state = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}

    def _count(self) -> None:
        """Bring seconds, steps, examples, tokens and memory in the record up to now."""
        self.note_memory()
        this, evaluation = time.monotonic() - self._started, self._evaluating
        wall = this + self.record.lost
        self.record.seconds = {"wall": wall, "train": this - evaluation, "evaluation": evaluation}
        self.record.steps = self.state.global_step
        self.record.examples, self.record.tokens = self.tally.counts()

    def _close(self) -> None:
        """Count what was spent and let go of all that the run held; a pruned or failed run too (trap 10)."""
        self._count()
        if self.neftune_noise_alpha is not None and hasattr(self, "neftune_hook_handle"):
            self.neftune_hook_handle.remove()  # Trainer does it only where training comes to its end
        self.optimizer = self.lr_scheduler = None
        handler = self.callback_handler
        handler.model = handler.optimizer = handler.lr_scheduler = None
        handler.train_dataloader = handler.eval_dataloader = None
        self.accelerator.free_memory()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        release_freed_memory()


class _Rungs(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Evaluates at the rungs, and proves the run's values at its first and last step."""

    def __init__(self, trainer: RungTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any, **_: Any) -> None:
        rows = len(self.trainer.task.train)
        batch = args.train_batch_size * args.gradient_accumulation_steps
        per_epoch = self.trainer.updates_per_epoch
        steps = range(state.max_steps + 1)
        examples = [step // per_epoch * rows + min(step % per_epoch * batch, rows) for step in steps]
        self.trainer.rungs = rung_steps(self.trainer.task.spec.search.rungs, examples)
        self.trainer.take_shortcuts(optimizer.optimizer)  # out of accelerate's wrapper

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in (1, state.max_steps):
            self.trainer._prove()
        control.should_evaluate = state.global_step in self.trainer.rungs
        self._pulse(state, self.trainer.tally.loss)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._pulse(state, None)

    def _pulse(self, state: Any, loss: float | None) -> None:
        if not torch.cuda.is_available():  # which keeps its own peak, and is slow to tell it
            self.trainer.note_memory()
        self.trainer.pulse(state.global_step, state.max_steps, loss)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        rung = self.trainer.rungs.get(state.global_step)
        if rung is None:
            return
        names = [*self.trainer.task.modules, "loss"]
        scores = {name: metrics[f"eval_{name}"] for name in names if f"eval_{name}" in metrics}
        self.trainer.record.curve[rung] = scores
        self.trainer._count()
        if self.trainer.task.spec.search.value == "best":
            self.trainer._remember_best(rung)
        self.trainer.at_rung(rung, scores, state.global_step == state.max_steps)
