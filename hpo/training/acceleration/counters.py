"""Running counts kept on the device. Reading them synchronizes a GPU, so the loss is read every 10 steps there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from hpo.store.trial_state import DIVERGED
from hpo.training.measurements import TrialEnded

READ_EVERY = 10  # steps between two readings of the loss on an accelerator


class DeviceCounters:
    """Examples, tokens and losses of one attempt. `loss` is the last one that was read."""

    def __init__(self, device: torch.device) -> None:
        self.read_every = 1 if device.type == "cpu" else READ_EVERY
        self.loss: float | None = None
        self._counts = torch.zeros(2, dtype=torch.long, device=device)  # examples, tokens
        self._loss_sum = torch.zeros((), device=device)

    def add(self, inputs: Mapping[str, torch.Tensor], loss: torch.Tensor) -> None:
        """Count a training batch. `inputs` has `labels` and `attention_mask`, a row per example."""
        self._counts += torch.stack([torch.ones_like(inputs["labels"]).sum(), inputs["attention_mask"].sum()])
        self._loss_sum += loss  # once a loss is not finite, the sum never is again

    def read_loss(self, step: int, loss: torch.Tensor, is_rung: bool) -> None:
        """Read the step's loss if it is time to. Raises TrialEnded if a loss since the last reading was not finite."""
        if step % self.read_every and not is_rung:
            return
        self.loss = float(loss)
        self.check_finite(
            f"at step {step}" if self.read_every == 1 else f"within {self.read_every} steps before step {step}"
        )

    def check_finite(self, when: str) -> None:
        """Raise TrialEnded if a loss so far was not finite."""
        if not math.isfinite(float(self._loss_sum)):
            raise TrialEnded(f"{DIVERGED}: the loss is not finite {when}")

    def read_state(self) -> dict[str, Any]:
        """Return what `restore` needs to count on from here."""
        return {"counts": self._counts.cpu(), "loss_sum": self._loss_sum.cpu(), "loss": self.loss}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Count on from a state that was read before."""
        self._counts.copy_(state["counts"])
        self._loss_sum.copy_(state["loss_sum"])
        self.loss = state["loss"]

    def read_counts(self) -> tuple[int, int]:
        """Return the examples and tokens so far."""
        examples, tokens = self._counts.tolist()
        return examples, tokens
