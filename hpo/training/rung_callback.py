"""The callback that evaluates a run at its rungs, verifies its values and reports its progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from hpo.training.measurements import TrialStopped
from hpo.training.rungs import examples_after_steps, rung_steps

if TYPE_CHECKING:
    from hpo.training.trainer import RungTrainer


class RungCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Evaluates at the rungs, and verifies the run's values after its first and last step."""

    def __init__(self, trainer: RungTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any, **_: Any) -> None:
        trainer = self.trainer
        # With dataloader_drop_last an epoch has fewer examples than there are rows.
        batches = len(trainer.callback_handler.train_dataloader)
        epoch_examples = min(len(trainer.context.train), batches * args.train_batch_size)
        batch = args.train_batch_size * args.gradient_accumulation_steps
        examples = examples_after_steps(state.max_steps, trainer.updates_per_epoch, batch, epoch_examples)
        trainer.rungs = rung_steps(trainer.context.spec.search.rungs, examples)
        trainer.start_acceleration(optimizer.optimizer)  # without accelerate's wrapper

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.begin_epoch()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in (1, state.max_steps):
            self.trainer.verify_values()
        control.should_evaluate = state.global_step in self.trainer.rungs
        try:
            self._pulse(state, self.trainer.counters.loss)
        except (TrialStopped, KeyboardInterrupt):
            if not control.should_evaluate:  # at a rung, the state is saved after the evaluation only
                self.trainer.save_state()
            raise

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._pulse(state, None)

    def _pulse(self, state: Any, loss: float | None) -> None:
        if not torch.cuda.is_available():  # CUDA keeps its own peak, and reading it is slow
            self.trainer.update_peak_memory()
        self.trainer.on_progress(state.global_step, state.max_steps, loss)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        trainer = self.trainer
        rung = trainer.rungs.get(state.global_step)
        if rung is None:
            return
        names = [*trainer.context.metrics, "loss"]
        scores = {name: metrics[f"eval_{name}"] for name in names if f"eval_{name}" in metrics}
        trainer.measurements.curve[rung] = scores
        trainer.update_measurements()
        if trainer.context.spec.search.value == "best":
            trainer.keep_best_weights(rung)
        trainer.on_rung(rung, scores, state.global_step == state.max_steps)
