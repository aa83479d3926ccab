"""The dry run: estimate time, memory and disk use of a search from a few timed steps, without writing anything."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pydantic import BaseModel

from hpo.atomic import scratch_folder
from hpo.search.budget import spent_seconds, stop_message
from hpo.search.engines import choose_engine
from hpo.search.estimate.timing import StepTiming, select_texts, time_steps
from hpo.search.preflight import preflight
from hpo.search.samplers import count_left
from hpo.search.search_listener import SearchListener
from hpo.search.setup import check_training, load_context
from hpo.store.provenance import describe_device
from hpo.store.study_record import StudyRecord
from hpo.study.search_space import Parameter
from hpo.study.spec import StudySpec
from hpo.study.spec_tables import EveryExamples
from hpo.training.acceleration import announce_accelerations
from hpo.training.arguments import build_arguments
from hpo.training.context import RunContext
from hpo.training.searchable import changes_step_time
from hpo.training.trainer import RungTrainer

STORE_BYTES, TRIAL_BYTES = 150_000, 5_000  # of a new store, and of each trial in it
MIN_STEPS, MAX_STEPS, STEP_SECONDS = 3, 12, 8.0  # of one timing: as many steps as take about so many seconds
EVALUATION_BATCHES = 2
LENGTH_AXES = ("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps")


class SecondsRange(BaseModel, frozen=True):
    """Seconds of a trial that runs to its end: at the corners of the search space, and with its mean epochs."""

    shortest: float
    typical: float
    longest: float


class Estimate(BaseModel, frozen=True):
    """What a search would take from here on; printed by `hpo search --dry-run --json`."""

    study: str
    device: str
    trials_wanted: int
    trials_left: int
    trials_in_timeout: int | None  # typical ones, among those left; None without a timeout
    trial_seconds: SecondsRange
    search_seconds: float  # loading, and all trials left at their typical length without pruning
    loading_seconds: float
    memory_bytes: int  # peak with the longest texts, of the accelerator, or of the process without one
    memory_rows: int  # of the largest batch
    memory_tokens: int
    model_bytes: int
    store_bytes: int
    timed_seconds: float
    test_rows: int | None  # None without a test split
    notes: list[str]


def estimate_search(spec: StudySpec, url: str, listener: SearchListener) -> Estimate:
    """Estimate what `hpo search` would take from here on. Store and study folder are not written.

    Pruning is not simulated: it depends on scores that nobody knows yet. Raises the errors of the search, and
    TrainingError if the timed steps fail. Tokens are cached as in every command.
    """
    choose_engine(spec)
    began = time.monotonic()
    checked = preflight(spec, url)
    context, _ = load_context(spec, checked.data, listener.notice)
    for text in check_training(context, checked):
        listener.notice(text)
    loading = time.monotonic() - began
    trials, attributes = [], {}
    if checked.study:
        trials, attributes = checked.study.get_trials(deepcopy=False), checked.study.user_attrs
        context = replace(context, accelerations=StudyRecord.from_attributes(attributes).accelerations or {})
    announce_accelerations(spec, context.accelerations, checked.study, listener.notice)
    message = stop_message(attributes) if spec.search.stop != "none" else None
    left = 0 if message else count_left(spec, trials)
    with scratch_folder() as folder:
        # Trainer creates the folder of its study, so the timed steps get a study file elsewhere.
        elsewhere = spec.model_copy(update={"file": folder / spec.file.name})
        costs = _Costs(replace(context, spec=elsewhere), listener)
        context.checkpoint.tokenizer.save_pretrained(folder)
        tokenizer_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    corners, typical = [costs.seconds(corner) for corner in costs.corners], costs.seconds(costs.middle)
    # Local workers share a processor or accelerator: together they are no faster than one alone.
    devices = spec.search.workers if spec.search.engine == "ray" else max(1, torch.cuda.device_count())
    concurrent, fitting = min(spec.search.workers, devices), None
    if spec.search.timeout is not None:
        time_left = max(0.0, spec.search.timeout - spent_seconds(trials) - loading)
        fitting = min(left, int(time_left / typical) * concurrent)
    return Estimate(
        study=spec.name,
        device=describe_device(),
        trials_wanted=spec.search.trials,
        trials_left=left,
        trials_in_timeout=fitting,
        trial_seconds=SecondsRange(shortest=min(corners), typical=typical, longest=max(corners)),
        search_seconds=loading + typical * math.ceil(left / concurrent),
        loading_seconds=loading,
        memory_bytes=max(timing.peak_memory for timing in [costs.longest, *costs.timings]),
        memory_rows=costs.longest.rows,
        memory_tokens=int(context.train.lengths.max()),
        model_bytes=costs.weight_bytes + tokenizer_bytes,
        store_bytes=STORE_BYTES * (not trials) + TRIAL_BYTES * left,
        timed_seconds=costs.timed_seconds,
        test_rows=checked.data.rows().get("test"),
        notes=[*([message] if message else []), *costs.notes()],
    )


class _Costs:
    """Timed steps of the longest texts, and of typical ones in the smallest and the largest batch."""

    def __init__(self, context: RunContext, listener: SearchListener) -> None:
        self.context, self.spec, self.listener = context, context.spec, listener
        space = self.spec.space.parameters
        self.middle = {name: _middle(name, axis) for name, axis in space.items()}
        axes = {name: (min(axis.ends), max(axis.ends)) for name, axis in space.items() if name in LENGTH_AXES}
        self.corners = [self.middle | dict(zip(axes, ends, strict=True)) for ends in itertools.product(*axes.values())]
        search = self.spec.search.model_copy(update={"rungs": [1.0]})  # evaluate once, after the last step
        self.trainer = RungTrainer(replace(context, spec=self.spec.model_copy(update={"search": search})))
        began = time.monotonic()
        batches = sorted({self._batch(corner) for corner in self.corners}, key=math.prod)
        # On an accelerator, the optimizer's state and a step's activations are in memory together from step 2 on.
        self.longest = self._time(max(rows for rows, _ in batches), 1, 2, longest=True)
        self.timings = []
        for batch in dict.fromkeys((batches[0], batches[-1])):
            steps = int(min(MAX_STEPS, max(MIN_STEPS, STEP_SECONDS / (self.longest.per_example * math.prod(batch)))))
            if torch.accelerator.is_available():  # sets up kernels and graphs, once for each length of a batch
                self._time(*batch, steps)
            self.timings.append(self._time(*batch, steps))
        self.timed_seconds = time.monotonic() - began
        self.weight_bytes = sum(tensor.numel() * tensor.element_size() for tensor in self.trainer.model.parameters())

    def seconds(self, values: Mapping[str, Any]) -> float:
        """Return the seconds of a trial that nothing prunes, by the timing with the nearest batch size."""
        args, rungs, (rows, accumulation) = self._arguments(values), self.spec.search.rungs, self._batch(values)
        examples = args.max_steps * rows * accumulation  # -1 steps if epochs decide
        examples = examples if examples > 0 else args.num_train_epochs * len(self.context.train)
        if isinstance(rungs, EveryExamples):
            evaluations = max(1, math.ceil(examples / rungs.every_examples))
        else:
            evaluations = len(rungs) if isinstance(rungs, list) else rungs
        timing = min(self.timings, key=lambda timing: abs(math.log(timing.rows / rows)))
        evaluation = timing.per_row * len(self.context.validation) + timing.scoring
        return float(timing.setup + timing.per_example * examples + evaluation * evaluations)

    def notes(self) -> list[str]:
        """Return what a reader should know before relying on the figures."""
        notes = []
        if self.longest.batch_split > 1:
            notes.append(f"a batch of the longest texts does not fit into memory; cut into {self.longest.batch_split}")
        names = list(filter(changes_step_time, self.middle))
        if names:
            used = ", ".join(f"{name} = {self.middle[name]}" for name in names)
            notes.append(f"timed with {used}; other values may be faster or slower")
        return notes

    def _time(self, rows: int, accumulation: int, steps: int, longest: bool = False) -> StepTiming:
        values = {name: value for name, value in self.middle.items() if name != "num_train_epochs"}
        values |= {"per_device_train_batch_size": rows, "gradient_accumulation_steps": accumulation}
        eval_rows = self._arguments({}).per_device_eval_batch_size * (1 if longest else EVALUATION_BATCHES)
        train = select_texts(self.context.train, rows * accumulation * (1 if longest else steps), longest)
        validation = select_texts(self.context.validation, eval_rows, longest)
        return time_steps(
            self.trainer, values, (train, validation), steps, lambda step: self.listener.step(step, 0, None)
        )

    def _arguments(self, values: Mapping[str, Any]) -> Any:
        return build_arguments(self.spec, {**self.context.accelerations, **values})

    def _batch(self, values: Mapping[str, Any]) -> tuple[int, int]:
        """Return the rows of a device batch and the batches of an optimizer step; a larger batch has all train rows."""
        args = self._arguments(values)
        return min(args.per_device_train_batch_size, len(self.context.train)), args.gradient_accumulation_steps


def _middle(name: str, axis: Parameter) -> Any:
    """Return the middle of an axis.

    Of epochs the mean under uniform draws, which need not be whole: the duration of a trial is proportional to it.
    """
    return _mean(axis) if name == "num_train_epochs" else axis.middle


def _mean(axis: Parameter) -> float:
    if axis.choices is not None:
        return float(sum(axis.choices) / len(axis.choices))  # type: ignore[arg-type]  # numbers, or the spec is refused
    low, high = axis.ends
    return float((high - low) / math.log(high / low) if axis.log and high > low else (low + high) / 2)
