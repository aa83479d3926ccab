"""ResumableTrainer: a Trainer whose state can be saved after any step, and that continues from it bit for bit.

Trainer's own checkpoints leave out what makes a run exact: the random state at the beginning of an epoch, from which a
sampler without a seed draws the order of the epoch; a learning rate that changes after an evaluation; and all that is
measured here. Trainer still finds the position in the data.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from transformers import Trainer

from hpo.training.acceleration import DeviceCounters
from hpo.training.measurements import RunMeasurements
from hpo.training.saved_state import RandomState, RunClock, SavedState
from hpo.training.state_saver import StateSaver


class ResumableTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """A Trainer that saves its state with a StateSaver, if it has one, and starts from a saved state, if it has one."""

    measurements: RunMeasurements
    counters: DeviceCounters
    rungs: dict[int, int]
    batches_per_step: int
    best_state: dict[str, torch.Tensor] | None
    saver: StateSaver | None = None
    saved: SavedState | None = None
    earlier_seconds: float = 0.0  # part of the run's total that earlier workers have spent

    def start_clock(self) -> None:
        """Start to count seconds, or continue from those of the saved state."""
        clock = self.saved.clock if self.saved else RunClock(0, 0, 0.0, 0.0, 0.0)
        self._started = time.monotonic() - clock.attempt
        self._evaluation_seconds, self._saving_seconds = clock.evaluation, clock.saving
        self._is_first_epoch = True

    def wall_seconds(self) -> float:
        """Return the seconds of the run so far, lost attempts included."""
        return time.monotonic() - self._started + self.measurements.lost

    def update_seconds(self) -> None:
        """Update the measured seconds."""
        wall, evaluation, saving = self.wall_seconds(), self._evaluation_seconds, self._saving_seconds
        training = wall - self.measurements.lost - evaluation - saving
        optional = {"saving": saving, "earlier": self.earlier_seconds}
        self.measurements.seconds = {"wall": wall, "train": training, "evaluation": evaluation}
        self.measurements.seconds |= {name: seconds for name, seconds in optional.items() if seconds}

    def update_measurements(self) -> None:
        """Update all measurements."""
        raise NotImplementedError

    @property
    def updates_per_epoch(self) -> int:
        """Optimizer steps that the live loader and accumulation make of one pass over the data."""
        batches = len(self.callback_handler.train_dataloader)
        return math.ceil(batches / int(self.args.gradient_accumulation_steps))

    def restore_counts(self) -> None:
        """Restore what the run has counted and kept up to the saved state."""
        if self.saved:
            self.batches_per_step = self.saved.batches_per_step
            self.counters.restore(self.saved.counters)
            self.best_state = dict(self.saved.best_weights) if self.saved.best_weights is not None else None

    def train_or_continue(self) -> None:
        """Train from the beginning or from the saved state."""
        if self.saved is None:
            super().train()
        elif self.saved.clock.is_last_step:
            self._load_from_checkpoint("")
            self.state.global_step = self.state.max_steps = self.saved.clock.step
        else:
            super().train(resume_from_checkpoint=str(self.saved.folder))

    def begin_epoch(self) -> None:
        """Remember the random state, from which a sampler may draw the order of the epoch; restore it to continue."""
        if self.saved and self._is_first_epoch:
            is_whole = self.state.global_step % self.updates_per_epoch == 0
            (self.saved.random if is_whole else self.saved.epoch_random).restore()
        self._is_first_epoch = False
        self._epoch_random = RandomState.capture()

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        super()._maybe_log_save_evaluate(*args, **kwargs)
        step = self.state.global_step
        # After the evaluation of a rung, which draws random numbers and may change the learning rate.
        if self.saver and self.saver.is_due(step, step in self.rungs, step == self.state.max_steps):
            self.save_state()

    def save_state(self) -> None:
        """Save the state after a step, if the run has a saver."""
        if self.saver is None:
            return
        started = time.monotonic()
        self.update_measurements()
        step, steps = self.state.global_step, self.state.max_steps
        scaler, optimizer, scheduler = self.accelerator.scaler, self.optimizer, self.lr_scheduler
        is_training = step < steps
        state = SavedState(
            clock=RunClock(step, steps, started - self._started, self._evaluation_seconds, self._saving_seconds),
            measurements=self.measurements,
            weights=self.model.state_dict(),
            best_weights=self.best_state,
            batches_per_step=self.batches_per_step,
            counters=self.counters.read_state(),
            optimizer=optimizer.state_dict() if is_training else None,
            scheduler=scheduler.state_dict() if is_training else None,
            scaler=scaler.state_dict() if scaler is not None else None,
            random=RandomState.capture(),
            epoch_random=self._epoch_random,
        )
        self.saver.save(state, self.state.save_to_json)
        self._saving_seconds += time.monotonic() - started

    # Trainer calls these to read the files of a checkpoint; the saved state has their content.

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        assert self.saved
        self.model.load_state_dict(self.saved.weights, strict=False)  # a tensor with two names was saved under one

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.saved:
            self.optimizer.load_state_dict(self.saved.optimizer)
            self.lr_scheduler.load_state_dict(self.saved.scheduler)

    def _load_scaler(self, checkpoint: str | None) -> None:
        if self.saved and self.saved.scaler:
            self.accelerator.scaler.load_state_dict(self.saved.scaler)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if self.saved:
            self.saved.random.restore()
