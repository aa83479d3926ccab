"""What the trials that a search has still to run would do, if nothing pruned them: their values, steps and tokens."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from hpo.search.pruners import build_pruner
from hpo.search.samplers import build_sampler
from hpo.store.trial_queue import enqueue_next
from hpo.store.trial_state import is_finished
from hpo.study.search_space import Parameter, SearchSpace
from hpo.study.spec import StudySpec
from hpo.training.arguments import build_arguments
from hpo.training.context import RunContext
from hpo.training.metrics import Direction
from hpo.training.rungs import rung_steps
from hpo.training.trainer import RungTrainer

DRAWN = 200  # trials that are drawn; those after them are taken to be like these
START_UP = 10  # trials after which ...
LEARNS = {"tpe", "gp", "cmaes"}  # ... these samplers would follow scores that nobody knows yet


@dataclass(frozen=True)
class Planned:
    """One trial as it would run to its end."""

    values: Mapping[str, Any]
    batch: tuple[int, int]  # rows on the device, and how often they are accumulated
    rungs: Mapping[int, int]  # rung -> optimizer steps until then
    done: NDArray[Any]  # by each rung: examples, tokens, tokens with padding; int64, shape (rungs, 3)

    @property
    def steps(self) -> int:
        """Optimizer steps to its end."""
        return max(self.rungs.values())


class Epoch:
    """One pass over the train rows as a trial's own loader makes it; `width` is that of a batch by its longest text."""

    def __init__(
        self, batches: Sequence[Sequence[int]], lengths: NDArray[Any], accumulated: int, width: Callable[[int], int]
    ) -> None:
        each = [(len(rows), lengths[rows].sum(), len(rows) * width(lengths[rows].max())) for rows in map(list, batches)]
        steps = np.add.reduceat(np.array(each, dtype=np.int64), np.arange(0, len(each), accumulated), axis=0)
        self.steps = len(steps)
        self._done = np.vstack([np.zeros((1, 3), dtype=np.int64), np.cumsum(steps, axis=0)])

    def done(self, steps: NDArray[Any]) -> NDArray[Any]:
        """Examples, tokens, and tokens with padding after so many optimizer steps: int64, shape (len(steps), 3)."""
        epochs, rest = np.divmod(steps, self.steps)
        whole: NDArray[Any] = epochs[:, None] * self._done[-1] + self._done[rest]
        return whole


class Plan:
    """What trials of one task would do, by the loaders that a trainer makes for them."""

    def __init__(self, task: RunContext) -> None:
        self.task = task
        self._trainer = RungTrainer(task)
        self._epoch = cache(self._made)

    def of(self, values: Mapping[str, Any]) -> Planned:
        """What a trial of these values would do."""
        args = build_arguments(self.task.spec, {**self.task.levers, **values})
        accumulated = args.gradient_accumulation_steps
        loader = (
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "dataloader_drop_last",
            "train_sampling_strategy",
        )
        epoch = self._epoch(tuple((name, getattr(args, name)) for name in loader))
        steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * epoch.steps)
        examples = epoch.done(np.arange(steps + 1))[:, 0].tolist()
        at = dict(sorted(rung_steps(self.task.spec.search.rungs, examples).items()))
        rungs = {rung: step for step, rung in at.items()}
        return Planned(values, (args.per_device_train_batch_size, accumulated), rungs, epoch.done(np.array([*at])))

    def _made(self, loader: tuple[tuple[str, Any], ...]) -> Epoch:
        values = {**self.task.levers, **dict(loader)}
        self._trainer._renew(values, seed=0)
        batches = self._trainer.get_train_dataloader().batch_sampler
        width = self._trainer.data_collator.width
        return Epoch(list(batches), self.task.train.lengths, values["gradient_accumulation_steps"], width)

    def evaluation(self) -> tuple[int, int]:
        """Batches of one evaluation, and their tokens with padding."""
        lengths, width = self.task.validation.lengths, self._trainer.data_collator.width
        batches = [list(rows) for rows in self._trainer.get_eval_dataloader().batch_sampler]
        return len(batches), int(sum(len(rows) * width(lengths[rows].max()) for rows in batches))

    def model_bytes(self) -> int:
        """What the weights of a trial's model take, in float32."""
        return int(sum(tensor.numel() * tensor.element_size() for tensor in self._trainer.model.parameters()))


def draws(spec: StudySpec, direction: Direction, before: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Values of the trials that are left, at most DRAWN, in their order.

    Trials without a result run again, then the known-good starts, then the sampler draws as the search would. Where it
    would begin to learn, values are drawn at random: they are only like the real ones.
    """
    sampler = build_sampler(spec)
    study = optuna.create_study(study_name=spec.name, direction=direction, sampler=sampler, pruner=build_pruner(spec))
    study.add_trials([_closed(trial) for trial in before])
    known = [trial.value for trial in before if trial.value is not None] or [0.0, 1.0]
    rng = np.random.default_rng(spec.search.seed)
    left = spec.search.trials - sum(map(is_finished, before))
    made: list[dict[str, Any]] = []
    while len(made) < min(left, DRAWN):
        enqueue_next(study, spec.space)
        if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)) and sampler.is_exhausted(study):
            break
        if len(made) == START_UP and spec.search.sampler.name in LEARNS:
            study.sampler = optuna.samplers.RandomSampler(seed=spec.search.seed)
        trial = study.ask()
        made.append(spec.space.suggest(trial))
        study.tell(trial, float(rng.choice(known)))
    return made


def middle(space: SearchSpace) -> dict[str, Any]:
    """The value in the middle of every axis, on its own scale; of choices the one in the middle of the list."""
    return {name: _middle(axis) for name, axis in space.parameters.items()}


def _middle(axis: Parameter) -> Any:
    if values := axis.grid():
        return values[len(values) // 2]
    assert axis.low is not None and axis.high is not None
    return math.sqrt(axis.low * axis.high) if axis.log else (axis.low + axis.high) / 2


def _closed(trial: FrozenTrial) -> FrozenTrial:
    """The trial, or where it runs, the same as if its process were gone: either way one more is to be run."""
    if trial.state != TrialState.RUNNING:
        return trial
    closed = copy.copy(trial)
    closed.state, closed.datetime_complete = TrialState.FAIL, trial.datetime_start
    return closed
