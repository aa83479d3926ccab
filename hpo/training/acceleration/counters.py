"""What training has gone through, added up on the device and read now and then: each look makes an accelerator wait."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from hpo.store.trial_state import DIVERGED
from hpo.training.measurements import TrialEnded

READ_EVERY = 10  # steps between two looks at the loss on an accelerator


class DeviceCounters:
    """Examples, tokens and losses of one attempt; `loss` is the last one that was looked at."""

    def __init__(self, device: torch.device) -> None:
        self.read_every = 1 if device.type == "cpu" else READ_EVERY
        self.loss: float | None = None
        self._seen = torch.zeros(2, dtype=torch.long, device=device)  # examples, tokens
        self._losses = torch.zeros((), device=device)

    def add(self, inputs: Mapping[str, torch.Tensor], loss: torch.Tensor) -> None:
        """Count a batch that was trained on. `inputs` has `labels` and `attention_mask`, a row per example."""
        self._seen += torch.stack([torch.ones_like(inputs["labels"]).sum(), inputs["attention_mask"].sum()])
        self._losses += loss  # once it is not finite it stays so

    def look(self, step: int, loss: torch.Tensor, is_rung: bool) -> None:
        """Read the step's loss, where it is time to. Raises TrialEnded where one since the last look was not finite."""
        if step % self.read_every and not is_rung:
            return
        self.loss = float(loss)
        if not math.isfinite(float(self._losses)):
            when = f"at step {step}" if self.read_every == 1 else f"within {self.read_every} steps before step {step}"
            raise TrialEnded(f"{DIVERGED}: the loss is not finite {when}")

    def counts(self) -> tuple[int, int]:
        """Examples and tokens so far."""
        examples, tokens = self._seen.tolist()
        return examples, tokens
