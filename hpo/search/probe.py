"""A few real steps of a study's own training, timed: what a trial costs on this machine, and what memory it takes."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from hpo.data.token_cache import TokenizedSplit
from hpo.errors import TrainingError
from hpo.training.acceleration.session import AccelerationSession
from hpo.training.arguments import build_arguments
from hpo.training.context import RunContext
from hpo.training.measurements import TrialEnded
from hpo.training.trainer import RungTrainer

LEAST_STEPS, MOST_STEPS = 4, 200  # of one timing, the first of them left out
ENOUGH = 12  # steps after which a timing may end ...
SHORT, LONG = 2.0, 8.0  # ... if it took so many seconds; after so many it ends where it stands
EVALUATED = 4  # batches of validation
Tell = Callable[[int], None]  # the steps that are done


@dataclass(frozen=True)
class Pace:
    """Seconds of batches as a line over their tokens, padding counted."""

    each: float  # whatever the batch holds; below 0 where attention's square bends the line
    per_token: float

    @classmethod
    def through(cls, tokens: Sequence[float], seconds: Sequence[float]) -> Self:
        """The line through (tokens, seconds) of at least one batch, a median of slopes (Theil 1950, Sen 1968).

        A step that something else on the machine held up does not bend it. Batches of one size, or a line that falls,
        give their median alone.
        """
        from scipy.stats import theilslopes

        if len(set(tokens)) > 1:
            slope, intercept, *_ = theilslopes(seconds, tokens)
            if slope > 0:
                return cls(float(intercept), float(slope))
        return cls(float(np.median(seconds)), 0.0)

    def of(self, batches: float, tokens: float) -> float:
        """Seconds of so many batches with so many tokens in all."""
        return max(0.0, self.each * batches + self.per_token * tokens)


@dataclass(frozen=True)
class Costs:
    """What a trial's parts take here, in seconds, and memory in bytes."""

    step: Pace  # an optimizer step, by the tokens of its batches
    batch: Pace  # an evaluated batch
    scoring: float  # of each evaluation, beside its batches
    around: float  # of each trial, beside its steps and evaluations: fresh weights, and what it lets go
    first: float  # once in a process: the first trial starts slower than others
    memory: int
    split: int  # parts that the longest batch had to be cut into
    steps: int  # that were timed, and
    seconds: float  # that it all took


class Part(TokenizedSplit):
    """Some rows of a data set, in the order given."""

    def __init__(self, whole: TokenizedSplit, rows: NDArray[Any]) -> None:
        kept = [whole[int(row)]["input_ids"] for row in rows]
        self._made_of = (whole, rows)
        self.folder, self.truncated = whole.folder, whole.truncated
        self._ids = np.concatenate(kept)
        self._offsets = np.cumsum([0, *map(len, kept)])
        self.labels = whole.labels[rows]

    def __reduce__(self) -> Any:
        return Part, self._made_of


class Probe(RungTrainer):
    """Trains until enough steps are timed, evaluates once, and stops."""

    def __init__(self, task: RunContext, seconds: float, tell: Tell, shortcuts: AccelerationSession) -> None:
        self.seconds = seconds
        super().__init__(task, shortcuts=shortcuts)
        self.pulse, self.at_rung = self._on_pulse, self._on_rung
        self.tell = tell

    def _renew(self, values: Mapping[str, Any], seed: int, output: str = "") -> None:
        super()._renew(values, seed, output)
        self.steps: list[tuple[int, float]] = []  # tokens with padding, and the clock at the step's end
        self.batches: list[tuple[int, float]] = []
        self.evaluates = self.scored = self.closed = 0.0  # the clock as these begin or are done
        self._padded = 0

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """A step, its tokens counted with their padding."""
        self._padded += inputs["input_ids"].numel()
        return super().training_step(model, inputs, num_items_in_batch)

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """An evaluated batch, its tokens counted with their padding."""
        self._padded += inputs["input_ids"].numel()
        return super().prediction_step(model, inputs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The evaluation, its beginning noted."""
        self.evaluates = time.monotonic()
        return super().evaluate(*args, **kwargs)

    def _on_pulse(self, step: int, steps: int, loss: float | None) -> None:
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()  # what was only handed over is not done yet
        now = time.monotonic()
        (self.batches if self.evaluates else self.steps).append((self._padded, now))
        self._padded = 0
        self.tell(step)
        if self.evaluates:
            if now - self.evaluates > self.seconds:
                self._on_rung(0, {}, is_last=True)
        elif step not in self.rungs and now - self._started > (SHORT if step >= ENOUGH else self.seconds):
            self.rungs = {min(max(step + 1, LEAST_STEPS), steps): 0}  # the last step

    def _on_rung(self, rung: int, scores: dict[str, float], is_last: bool) -> None:
        self.scored = time.monotonic()
        raise _Measured


class _Measured(Exception):
    """What was to be timed is timed."""


@contextmanager
def aside(task: RunContext) -> Iterator[RunContext]:
    """The same task with a study file in a temporary folder: Trainer makes a study's folder and may write there."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / task.spec.file.name
        yield replace(task, spec=task.spec.model_copy(update={"file": file}))


def measure(task: RunContext, values: Mapping[str, Any], batches: Sequence[tuple[int, int]], tell: Tell) -> Costs:
    """What trials of these values cost, timed with the smallest and the largest of `batches`: (rows, accumulated).

    Before it is timed, the largest batch runs once with the longest texts, in training and in evaluation, which tells
    what memory it takes; on an accelerator, which has to be set up for each length of a batch, each timing is preceded
    by one that does not count. Raises TrainingError where not even one of the longest texts fits into memory, or a run
    ends by its own values.
    """
    began = time.monotonic()
    ends = dict.fromkeys((min(batches, key=math.prod), max(batches, key=math.prod)))
    runs = _Runs(task, values, tell, AccelerationSession(task.spec))
    longest = runs.on_longest(max(rows for rows, _ in batches))
    before = [runs.on_all_lengths(batch, ENOUGH, LONG) for batch in ends if torch.accelerator.is_available()]
    timed = [runs.on_all_lengths(batch, MOST_STEPS, LONG / len(ends)) for batch in ends]
    # The first step of a run is slower than those after it; it is part of what lies around them.
    step = Pace.through(*zip(*(pair for probe in timed for pair in _intervals(probe.steps)), strict=True))
    batch = Pace.through(*zip(*(pair for probe in timed for pair in _evaluations(probe)), strict=True))
    around = [_around(probe, step) for probe in timed]
    starts = [_around(longest, step), *(_above(probe, step, batch) for probe in before)]
    return Costs(
        step=step,
        batch=batch,
        scoring=float(np.median([probe.scored - probe.batches[-1][1] for probe in timed])),
        around=float(np.median(around)),
        first=max(0.0, sum(starts) - float(np.median(around))),
        memory=max(probe.record.peak_memory for probe in [longest, *timed]),
        split=longest.record.split,
        steps=sum(len(probe.steps) for probe in timed),
        seconds=time.monotonic() - began,
    )


@dataclass(frozen=True)
class _Runs:
    """Short runs of a task with the same values, on rows of their own."""

    task: RunContext
    values: Mapping[str, Any]
    tell: Tell
    shortcuts: AccelerationSession  # of all runs, as of all trials in a search

    def on_longest(self, rows: int) -> Probe:
        """A run of as many steps as show the whole of its memory, on the longest texts that there are."""
        train, validation = self.task.train, self.task.validation
        part = replace(
            self.task,
            train=Part(train, np.argsort(-train.lengths, kind="stable")[:rows]),
            validation=Part(validation, np.argsort(-validation.lengths, kind="stable")[: _eval_batch(self.task)]),
        )
        # An accelerator holds the optimizer's state beside a step's activations in the second one only.
        return self._run(part, (rows, 1), 2 if torch.accelerator.is_available() else 1, LONG)

    def on_all_lengths(self, batch: tuple[int, int], steps: int, seconds: float) -> Probe:
        """A run of so many steps or seconds on rows of every length."""
        part = replace(
            self.task,
            train=Part(self.task.train, _spread(self.task.train, batch[0] * batch[1], ENOUGH)),
            validation=Part(self.task.validation, _spread(self.task.validation, _eval_batch(self.task), EVALUATED)),
        )
        return self._run(part, batch, steps, seconds)

    def _run(self, task: RunContext, batch: tuple[int, int], steps: int, seconds: float) -> Probe:
        names = ("per_device_train_batch_size", "gradient_accumulation_steps")
        short = {name: value for name, value in self.values.items() if name != "num_train_epochs"}
        search = task.spec.search.model_copy(update={"rungs": [1.0]})  # evaluated once, at its end
        task = replace(task, spec=task.spec.model_copy(update={"search": search}))
        probe = Probe(task, seconds, self.tell, self.shortcuts)
        try:
            with suppress(_Measured):
                probe.run({**short, **dict(zip(names, batch, strict=True)), "max_steps": steps}, seed=0)
        except TrialEnded as ended:
            longest = int(task.train.lengths.max())
            raise TrainingError(
                f"{task.spec.name}: timing a few steps of {longest} tokens a text, in batches of {batch[0]}, "
                f"came to an end: {ended}"
            ) from None
        probe.closed = time.monotonic()
        return probe


def _spread(tokens: TokenizedSplit, batch: int, batches: int) -> NDArray[Any]:
    """Rows of whole batches (all there are, where they are fewer), evenly spread over the lengths."""
    ranked = np.argsort(tokens.lengths, kind="stable")
    count = min(len(ranked), batch * batches)
    count = count // batch * batch or count
    chosen: NDArray[Any] = ranked[np.linspace(0, len(ranked) - 1, count).round().astype(int)]
    return chosen


def _eval_batch(task: RunContext) -> int:
    return int(build_arguments(task.spec, task.levers).per_device_eval_batch_size)


def _intervals(marks: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Tokens and seconds of each but the first."""
    return [(now[0], now[1] - before[1]) for before, now in zip(marks, marks[1:], strict=False)]


def _evaluations(probe: Probe) -> list[tuple[int, float]]:
    return _intervals([(0, probe.evaluates), *probe.batches])


def _around(probe: Probe, step: Pace) -> float:
    """Seconds of a run until its first step, and from its evaluation to its end."""
    tokens, at = probe.steps[0]
    return max(0.0, at - probe._started - step.of(1, tokens)) + probe.closed - probe.scored


def _above(probe: Probe, step: Pace, batch: Pace) -> float:
    """Seconds that a run's steps and evaluated batches took beyond what they take once they are set up."""
    pairs = ((_intervals(probe.steps), step), (_evaluations(probe), batch))
    return sum(max(0.0, seconds - pace.of(1, tokens)) for each, pace in pairs for tokens, seconds in each)
