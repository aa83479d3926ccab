"""What the levers of a study save: a few steps of the plain library's arithmetic, timed once its trials are done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from hpo.search.budget import EXACT_ATTRIBUTE
from hpo.store.provenance import describe_device
from hpo.store.trial_state import is_finished
from hpo.training.context import RunContext
from hpo.training.trainer import RungTrainer

STEPS = 3  # of them the first is left out, which is slower than others
LEAST = 20.0  # times as long as these steps the search must have trained, for them to be worth their time
SLOWER = 5.0  # the plain arithmetic is guessed to be so many times slower, before it is timed


def remember(task: RunContext, study: optuna.Study, before: int) -> None:
    """Put the plain library's seconds per example into the study, where it took levers and the timing is cheap.

    It is done with the values of a trial, after the search, so that no trial waits for it; and only where more than
    the `before` trials are finished and all of them ran here, one after the other: elsewhere a step takes other times.
    """
    trials = [trial for trial in study.get_trials(deepcopy=False) if is_finished(trial)]
    timed = [trial for trial in trials if trial.user_attrs.get("steps")]
    complete = [trial for trial in timed if trial.state == TrialState.COMPLETE]
    here = describe_device()
    is_here = all(trial.user_attrs["provenance"]["device"] == here for trial in timed)
    if not (task.levers and complete and is_here and len(trials) > before) or EXACT_ATTRIBUTE in study.user_attrs:
        return
    trained = sum(trial.user_attrs["seconds"]["train"] for trial in timed)
    expected = STEPS * SLOWER * trained / sum(trial.user_attrs["steps"] for trial in timed)
    if expected * LEAST < trained:
        study.set_user_attr(EXACT_ATTRIBUTE, per_example(task, complete[0].params))


def per_example(task: RunContext, values: Mapping[str, Any]) -> float | None:
    """Seconds of training on one example, as the plain library would do it; None where it comes to no end."""
    search = task.spec.search.model_copy(update={"rungs": [1.0]})
    plain = task.spec.model_copy(update={"training": {**task.spec.training, "speed": "exact"}, "search": search})
    trainer = RungTrainer(replace(task, spec=plain, levers={}))
    ends: list[float] = []

    def pulse(step: int, steps: int, loss: float | None) -> None:
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()  # what was only handed over is not done yet
        ends.append(time.monotonic())
        if len(ends) == STEPS:
            raise _Timed

    trainer.pulse = pulse
    short = {name: value for name, value in values.items() if name != "num_train_epochs"}
    with suppress(Exception):  # _Timed, or whatever keeps the plain arithmetic from running here: the search is done
        trainer.run({**short, "max_steps": STEPS + 1}, seed=0)
    if len(ends) < STEPS:
        return None
    rows = trainer.record.examples / STEPS
    return (ends[-1] - ends[0]) / (STEPS - 1) / rows


class _Timed(Exception):
    """Enough steps are timed."""
