"""The training loss: cross-entropy that does not depend on how a batch is accumulated."""

from __future__ import annotations

from typing import Any

import torch


class CrossEntropy:
    """Mean cross-entropy over all examples of an optimizer step, however many batches it is accumulated over.

    The classifiers of transformers take the mean of each batch and ignore `num_items_in_batch`. Trainer sees that they
    accept it and no longer divides, so accumulating over k batches makes the gradient k times as long.
    """

    def __init__(self, label_smoothing: float) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        smoothing = self.label_smoothing if torch.is_grad_enabled() else 0.0  # evaluation reports the plain loss
        total = torch.nn.functional.cross_entropy(
            outputs["logits"].float(), labels, label_smoothing=smoothing, reduction="sum"
        )
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)
