"""Rungs: the optimizer steps of a run after which it is evaluated and may be pruned."""

from __future__ import annotations

import math

import numpy as np

from hpo.study.spec_tables import EveryExamples


def rung_steps(rungs: int | list[float] | EveryExamples, examples: list[int]) -> dict[int, int]:
    """Return optimizer step -> rung.

    `examples` holds the number of examples seen after each step, from step 0 to the last. The rung of a share is its
    thousandths, so 250 is a quarter of any trial's schedule; the rung of a number of examples is that number. The last
    step is always a rung. If several rungs of a short run fall on one step, the last of them counts.
    """
    last = len(examples) - 1
    if isinstance(rungs, EveryExamples):
        steps = {}
        for goal in range(rungs.every_examples, examples[-1] + 1, rungs.every_examples):
            steps[int(np.searchsorted(examples, goal))] = goal
        return steps | {last: steps.get(last, examples[-1])}
    shares = rungs if isinstance(rungs, list) else [(part + 1) / rungs for part in range(rungs)]
    # 1e-9: shares such as 0.7 are not exact in binary, and must not be rounded up to one step more.
    return {max(1, math.ceil(share * last - 1e-9)): round(1000 * share) for share in shares}


def examples_after_steps(steps: int, steps_per_epoch: int, batch: int, epoch_examples: int) -> list[int]:
    """Return the number of examples seen after each optimizer step, from step 0 to the last.

    `batch` is the number of examples of a whole optimizer step. The last step of an epoch may have fewer, so that the
    epoch ends with `epoch_examples`.
    """
    return [
        step // steps_per_epoch * epoch_examples + min(step % steps_per_epoch * batch, epoch_examples)
        for step in range(steps + 1)
    ]
