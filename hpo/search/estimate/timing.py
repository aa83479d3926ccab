"""Time a few real training steps and evaluation batches of a study on this machine, and measure their memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hpo.data.token_cache import TokenizedSplit
from hpo.errors import TrainingError
from hpo.training.measurements import TrialEnded
from hpo.training.trainer import RungTrainer


@dataclass(frozen=True)
class StepTiming:
    """What the parts of a trial cost with one batch size, in seconds, and its peak of memory in bytes."""

    rows: int  # in a device batch
    per_example: float  # training
    per_row: float  # evaluation
    scoring: float  # of each evaluation, after its batches
    setup: float  # of each trial: fresh weights, data loaders, and what a first step takes longer than others
    peak_memory: int
    batch_split: int  # parts that a batch had to be cut into to fit into memory


class TokenizedSubset(TokenizedSplit):
    """Some rows of a split."""

    def __init__(self, whole: TokenizedSplit, rows: NDArray[Any]) -> None:
        self.whole, self.rows, self.labels = whole, rows, whole.labels[rows]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each text."""
        lengths: np.ndarray = self.whole.lengths[self.rows]
        return lengths

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.whole[int(self.rows[index])]

    def __reduce__(self) -> Any:
        return TokenizedSubset, (self.whole, self.rows)


def select_texts(split: TokenizedSplit, count: int, longest: bool = False) -> TokenizedSubset:
    """Return the longest texts, or typical ones: at equal distances in the order of their lengths."""
    order = np.argsort(-split.lengths, kind="stable")
    count = min(count, len(order))
    chosen = np.arange(count) if longest else np.linspace(0, len(order) - 1, count).round().astype(int)
    return TokenizedSubset(split, order[chosen])


def time_steps(
    trainer: RungTrainer,
    values: Mapping[str, Any],
    rows: tuple[TokenizedSplit, TokenizedSplit],
    steps: int,
    on_step: Callable[[int], None],
) -> StepTiming:
    """Train for so many steps (at least 2) on some rows, then evaluate: rows of (train, validation).

    Raises TrainingError if the run diverges, or if not even one text fits into memory.
    """
    step_ends, batch_ends = list[float](), list[float]()

    def on_pulse(step: int, _steps: int, _loss: float | None) -> None:
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()  # otherwise the step was only queued
        if step < len(step_ends):  # the run has started again with smaller batches
            step_ends.clear()
        # The same step again is a batch of the evaluation after it.
        (step_ends if step > len(step_ends) else batch_ends).append(time.monotonic())
        on_step(step)

    trainer.context = replace(trainer.context, train=rows[0], validation=rows[1])
    trainer.on_progress = on_pulse
    began = time.monotonic()
    try:
        record = trainer.run({**values, "max_steps": steps}, seed=0)
    except TrialEnded as error:
        study, longest = trainer.context.spec.name, rows[0].lengths.max()
        raise TrainingError(f"{study}: timing {steps} steps of up to {longest} tokens a text failed: {error}") from None
    ended, step_seconds = time.monotonic(), float(median(np.diff(step_ends)))
    return StepTiming(
        rows=values["per_device_train_batch_size"],
        per_example=step_seconds * steps / record.examples,
        per_row=(batch_ends[-1] - step_ends[-1]) / len(rows[1]),
        scoring=ended - batch_ends[-1],
        setup=max(0.0, step_ends[0] - began - step_seconds),
        peak_memory=record.peak_memory,
        batch_split=record.batch_split,
    )
