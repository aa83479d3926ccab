"""RungTrainer: the Trainer that runs every trial and final run, evaluates at rungs and verifies its values."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from transformers import PrinterCallback

from hpo.store.trial_order import best_rung
from hpo.store.trial_state import DIVERGED, INFEASIBLE, UNVERIFIED
from hpo.training import trackers
from hpo.training.acceleration import (
    AccelerationSession,
    DeviceCounters,
    keep_freed_memory,
    release_freed_memory,
)
from hpo.training.arguments import build_arguments, next_batch_split, output_folder, select_model_fields
from hpo.training.checkpoint import save_model
from hpo.training.context import RunContext
from hpo.training.library_internals import remove_accelerate_wrappers, use_one_device
from hpo.training.loss import CrossEntropy
from hpo.training.measurements import RunMeasurements, TrialEnded
from hpo.training.memory_errors import is_out_of_memory
from hpo.training.metrics import score_logits
from hpo.training.resumable_trainer import ResumableTrainer
from hpo.training.rung_callback import RungCallback
from hpo.training.saved_state import read_state
from hpo.training.state_saver import StateSaver
from hpo.training.verification import find_mismatch, read_effective_values


class _OutOfMemory(TrialEnded):
    """An attempt did not fit into memory; the run starts again with smaller batches."""


class RungTrainer(ResumableTrainer):
    """A Trainer that starts afresh for each run, evaluates at rungs, and verifies the values that it trained with.

    `run_trial(trainer, trial)` runs one trial of Trainer.hyperparameter_search and returns its value.
    `on_rung(rung, scores, is_last)` is called after the evaluation at a rung; it may raise to end the run.
    `on_progress(step, steps, loss)` is called after every training step and evaluation batch; it may raise to
    end the run. `notice(text)` takes messages for the user.
    """

    def __init__(
        self,
        context: RunContext,
        run_trial: Callable[[RungTrainer, Any], float] | None = None,
        acceleration: AccelerationSession | None = None,
    ) -> None:
        self.context = context
        self.run_trial = run_trial
        self.measurements: RunMeasurements = RunMeasurements()
        self.best_state: dict[str, torch.Tensor] | None = None
        self.batches_per_step: int = 1  # as counted in the live run
        self.on_rung: Callable[[int, dict[str, float], bool], None] = lambda rung, scores, is_last: None
        self.on_progress: Callable[[int, int, float | None], None] = lambda step, steps, loss: None
        self.notice: Callable[[str], None] = lambda text: None
        self._acceleration = acceleration or AccelerationSession(context.spec)
        self._reinitialize({}, seed=0)

    def train(self, resume_from_checkpoint: Any = None, trial: Any = None, **_: Any) -> Any:
        """Run a trial: Trainer.hyperparameter_search calls this and reads `objective` afterwards."""
        if self.run_trial is None:
            raise TypeError("a RungTrainer without run_trial() runs no trials; call run()")
        self.objective = self.run_trial(self, trial)

    def run(
        self, values: Mapping[str, Any], seed: int, name: str = "", saver: StateSaver | None = None
    ) -> RunMeasurements:
        """Train once with these values and this seed. The measurements also stay in `self.measurements`.

        If the run has a name, the study's trackers follow it under that name. With a saver, it continues from its saved
        state, if there is one. If memory runs out, the run starts again: first without recorded passes, then with a
        smaller device batch and more accumulation. Raises TrialEnded if the loss is not finite, if a value did not
        reach the run, or if not even one example fits into memory.
        """
        self.saver, self.saved = saver, saver.load(read_state) if saver else None
        self.measurements = self.saved.measurements if self.saved else RunMeasurements()
        self.earlier_seconds = self.measurements.seconds["wall"]
        self.best_state = None
        values = {**self.context.accelerations, **values}
        while True:
            with suppress(_OutOfMemory), self._track(values, name) as callbacks:
                self._attempt(values, seed, name, callbacks)
                return self.measurements
            batch = build_arguments(self.context.spec, values).per_device_train_batch_size
            split = self.measurements.batch_split
            next_split = split if self._acceleration.release_recordings() else next_batch_split(batch, split)
            if next_split is None:
                raise TrialEnded(f"{INFEASIBLE}: out of memory with one example at a time")
            self.measurements = RunMeasurements(batch_split=next_split, lost=self.measurements.seconds["wall"])
            self.saved = None  # it has other batches
            if saver:
                saver.remove()

    def final_model(self) -> Any:
        """Return the run's model with the weights that its value stands for (last or best rung), without wrappers."""
        if self.best_state is not None:
            self.model.load_state_dict(self.best_state)
        remove_accelerate_wrappers(self.model)
        return self.model

    def save_weights(self, folder: Path) -> None:
        """Write these weights as safetensors, with their tokenizer."""
        save_model(self.final_model(), self.context.checkpoint.tokenizer, folder)

    def _attempt(self, values: Mapping[str, Any], seed: int, name: str, callbacks: Sequence[Any]) -> None:
        """Train once. Raises _OutOfMemory if memory runs out."""
        self.start_clock()
        self.counters = DeviceCounters(torch.device("cpu"))
        try:
            self._reinitialize(values, seed, output_folder(self.context.spec, name))
            self._values = values
            for callback in callbacks:
                self.add_callback(callback)
            keep_freed_memory()
            with ExitStack() as self._while_training:
                self.train_or_continue()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            error.__traceback__ = None  # its frames hold the tensors that did not fit
            batch = self.args.per_device_train_batch_size
            raise _OutOfMemory(f"{INFEASIBLE}: out of memory in batches of {batch}") from None
        finally:
            self._release()

    def _track(self, values: Mapping[str, Any], name: str) -> AbstractContextManager[list[Any]]:
        """Return a context that yields callbacks for the study's trackers, none if the run has no name."""
        if not name:
            return nullcontext([])
        return trackers.track_run(
            trackers.TrackedRun(self.context.spec, name, values), self.notice, self.measurements.describe_end
        )

    def _reinitialize(self, values: Mapping[str, Any], seed: int, output: str = "") -> None:
        """Initialize this Trainer again: new arguments, accelerator, callbacks and seed (pitfalls 2, 5, 6, 7, 12).

        Trainer.hyperparameter_search holds this very object and has set attributes on it, so a new object would not do.
        """
        search = {name: getattr(self, name, None) for name in ("hp_search_backend", "hp_name")}
        changes = select_model_fields({**self.context.spec.fixed, **values})
        args = build_arguments(self.context.spec, values, seed, self.measurements.batch_split, output)
        use_one_device(args)
        args.per_device_eval_batch_size = max(1, args.per_device_eval_batch_size // self.measurements.batch_split)
        super().__init__(
            model_init=lambda: self.context.checkpoint.fresh(changes),
            args=args,
            data_collator=self._acceleration.build_collator(self.context.checkpoint.tokenizer, args.device),
            train_dataset=self.context.train,
            eval_dataset=self.context.validation,
            processing_class=self.context.checkpoint.tokenizer,
            compute_loss_func=CrossEntropy(args.label_smoothing_factor),
            compute_metrics=self._scores,
            preprocess_logits_for_metrics=lambda out, labels: out[0] if isinstance(out, tuple) else out,
            callbacks=[RungCallback(self)],
        )
        self.remove_callback(PrinterCallback)
        for name, value in search.items():
            setattr(self, name, value)
        self.rungs: dict[int, int] = {}
        self.batches_per_step = 1
        self.counters = DeviceCounters(args.device)
        self.restore_counts()
        self._process = psutil.Process()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def call_model_init(self, trial: Any = None) -> Any:
        """Build the run's model after the last one is released: a model of another config does not reuse it."""
        self.model: Any = None
        self.model_wrapped = None
        if hasattr(self, "callback_handler"):
            self.callback_handler.model = None
        return super().call_model_init(trial)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return self._acceleration.evaluation_order(eval_dataset) or super()._get_eval_sampler(eval_dataset)

    def start_acceleration(self, optimizer: Any) -> None:
        """Accelerate training until the run ends."""
        texts = self.data_collator([self.context.train[0], self.context.train[len(self.context.train) - 1]])
        # Passes are recorded only for torch's own optimizers: others may act while gradients are computed. Nor are they
        # with fp16, whose loss scale differs between runs.
        can_record = type(optimizer).__module__.startswith("torch.optim") and not self.args.fp16
        recorded_batch = self.args.per_device_train_batch_size if can_record else 0
        acceleration = self._acceleration.accelerate(self.model, texts, self._values, recorded_batch)
        self._while_training.enter_context(acceleration)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Run a forward and backward pass. A loss that is not finite ends the run when it is read."""
        self.measurements.device_batch = max(self.measurements.device_batch, len(inputs["labels"]))
        self.batches_per_step = max(self.batches_per_step, self.current_gradient_accumulation_steps)
        with self._acceleration.kernels(self.args.device):
            loss = self._acceleration.run_pass(partial(super().training_step, model), inputs, num_items_in_batch)
        self.counters.add(inputs, loss)
        step = self.state.global_step + 1
        # With num_items_in_batch the loss of a batch is its part of the step's loss, otherwise it is a mean.
        scale = self.batches_per_step if num_items_in_batch is not None else 1
        self.counters.read_loss(step, loss * scale, step in self.rungs)
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate as Trainer does; the seconds are counted apart from training's."""
        started = time.monotonic()
        try:
            with self._acceleration.kernels(self.args.device):
                return super().evaluate(*args, **kwargs)  # type: ignore[no-any-return]
        finally:
            self._evaluation_seconds += time.monotonic() - started

    def _scores(self, prediction: Any) -> dict[str, float]:
        if not np.isfinite(prediction.predictions).all():
            raise TrialEnded(f"{DIVERGED}: the logits on validation are not finite at step {self.state.global_step}")
        return score_logits(self.context.metrics, prediction.predictions, prediction.label_ids)

    def verify_values(self) -> None:
        """Read the live values into the measurements. Raises TrialEnded if one is not what was sampled."""
        live = read_effective_values(self, self._values)
        self.measurements.effective |= live
        if mismatch := find_mismatch(self, self._values, live):
            raise TrialEnded(f"{UNVERIFIED}: {mismatch}")

    def update_peak_memory(self) -> None:
        """Update the measured peak of memory."""
        used = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else self._process.memory_info().rss
        self.measurements.peak_memory = max(self.measurements.peak_memory, used)

    def keep_best_weights(self, rung: int) -> None:
        """Keep the weights if this rung is the best so far, so that a run's best score and its weights match."""
        curve = self.measurements.values_of(self.context.spec.objective)
        if best_rung(curve, self.context.direction) == rung:
            self.best_state = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}

    def update_measurements(self) -> None:
        """Update the measured seconds, steps, examples, tokens and memory."""
        self.update_peak_memory()
        self.update_seconds()
        self.measurements.steps = self.state.global_step
        self.measurements.examples, self.measurements.tokens = self.counters.read_counts()

    def _release(self) -> None:
        """Measure what was spent and release all that the run held, also if it was pruned or failed (pitfall 10)."""
        self.update_measurements()
        if self.neftune_noise_alpha is not None and hasattr(self, "neftune_hook_handle"):
            self.neftune_hook_handle.remove()  # Trainer removes it only if training reaches its end
        self.optimizer = self.lr_scheduler = None
        handler = self.callback_handler
        handler.model = handler.optimizer = handler.lr_scheduler = None
        handler.train_dataloader = handler.eval_dataloader = None
        self.accelerator.free_memory()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        release_freed_memory()
