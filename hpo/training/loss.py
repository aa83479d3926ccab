"""The loss that every run is trained by."""

from __future__ import annotations

from typing import Any

import torch


class CrossEntropy:
    """Mean cross-entropy over all examples of an optimizer step, however many batches it is accumulated over.

    The classifiers of transformers take the mean of each batch and ignore `num_items_in_batch`, while Trainer, seeing
    that they accept it, no longer divides: accumulating over k batches makes the gradient k times as long.
    """

    def __init__(self, label_smoothing: float) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        smoothing = self.label_smoothing if torch.is_grad_enabled() else 0.0  # evaluation's loss is the plain one
        total = torch.nn.functional.cross_entropy(
            outputs["logits"].float(), labels, label_smoothing=smoothing, reduction="sum"
        )
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)
