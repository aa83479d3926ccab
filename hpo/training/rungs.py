"""Shares of a schedule, or numbers of examples -> the optimizer steps at which a run is looked at."""

from __future__ import annotations

import math

import numpy as np

from hpo.study.spec import EveryExamples


def rung_steps(rungs: int | list[float] | EveryExamples, examples: list[int]) -> dict[int, int]:
    """Optimizer step -> rung, from the examples seen after each step (from step 0 to the last).

    A share becomes its thousandths, so that 250 is a quarter of any trial's schedule; otherwise a rung is the number
    of examples that it waits for. The last step is always a rung. Where a short run has several rungs in one step,
    the last of them counts.
    """
    last = len(examples) - 1
    if isinstance(rungs, EveryExamples):
        steps = {}
        for goal in range(rungs.every_examples, examples[-1] + 1, rungs.every_examples):
            steps[int(np.searchsorted(examples, goal))] = goal
        return steps | {last: steps.get(last, examples[-1])}
    shares = rungs if isinstance(rungs, list) else [(part + 1) / rungs for part in range(rungs)]
    return {max(1, math.ceil(share * last - 1e-9)): round(1000 * share) for share in shares}
