"""What a search will take, before it is started: trials, tokens, seconds, memory and disk; nothing is written."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from hpo.search import probe
from hpo.search.budget import count_finished, spent_seconds, stop_message
from hpo.search.engines import choose_engine
from hpo.search.plan import DRAWN, Plan, Planned, draws, middle
from hpo.search.pruners import build_pruner
from hpo.search.search_listener import SearchListener
from hpo.search.worker import check_spec, prepare_context
from hpo.store.provenance import describe_device
from hpo.store.storage import check_same_data, check_same_spec, find_stored_study
from hpo.study.spec import StudySpec
from hpo.training.acceleration.presets import announce_accelerations
from hpo.training.context import RunContext
from hpo.training.metrics import Direction

RANKING = {"median", "percentile", "asha", "hyperband"}  # pruners that only ask which trial is the better one
MADE_UP = 600  # trials, about, over which the effect of pruning is averaged, ...
LEAST_SEARCHES = 10  # ... in at least so many searches
STORE, PER_TRIAL = 150_000, 5_000  # bytes of a new store, and of each trial in it
UNLIKE = ("bf16", "fp16", "optim")  # axes on which the seconds of a step hang, beside the model's own


@dataclass(frozen=True)
class Outlook:
    """The trials that are left, and what each part of them costs."""

    task: RunContext
    before: Sequence[FrozenTrial]
    planned: Sequence[Planned]  # of more trials than are drawn, those that all others are taken to be like
    left: int
    costs: probe.Costs
    evaluation: float  # seconds of one
    once: dict[str, float]  # seconds of loading, and of what only the first trial waits for

    @property
    def spec(self) -> StudySpec:
        """The study."""
        return self.task.spec

    def total(self, each: Sequence[float]) -> float:
        """A figure of each planned trial, summed over all that are left."""
        return float(np.resize(np.asarray(each, dtype=float), self.left).sum())

    def seconds(self, trial: Planned) -> NDArray[Any]:
        """Seconds of a trial until each of its rungs is evaluated: float64, shape (rungs,)."""
        steps = zip(trial.rungs.values(), trial.done[:, 2], strict=True)
        trained = np.array([self.costs.step.of(*each) for each in steps])
        evaluated = np.arange(1, len(trained) + 1) * self.evaluation
        return self.costs.around + trained + evaluated


def forecast(spec: StudySpec, url: str, listener: SearchListener) -> dict[str, Any]:
    """What `hpo search` of a study would take from here on, as JSON values: what `--dry-run --json` prints.

    Seconds come from a few real steps, memory from the longest texts in the largest batch. Seconds with pruning are an
    expectation; see `ended`. Raises HpoError like the search, TrainingError where the few steps fail, and
    KeyboardInterrupt. The store and the study's folder stay as they are; tokens are cached as in every command.
    """
    choose_engine(spec)
    check_spec(spec)
    stored = find_stored_study(spec, url)
    if stored:
        check_same_spec(stored, spec)
    began = time.monotonic()
    task, about = prepare_context(spec, listener)
    once = {"loading": time.monotonic() - began}
    if stored:
        check_same_data(stored, spec, about)
        task = replace(task, levers=stored.user_attrs.get("speed", {}))
    announce_accelerations(spec, task.levers, stored, listener.notice)
    before = stored.get_trials(deepcopy=False) if stored else []
    over = stop_message(stored.user_attrs) if stored and spec.search.stop != "none" else None
    if over:
        listener.notice(over)
        search = spec.search.model_copy(update={"trials": count_finished(list(before))})
        task = replace(task, spec=spec.model_copy(update={"search": search}))
    with probe.aside(task) as own:
        outlook, disk = _outlook(own, before, once, listener)
    return {
        "study": spec.name,
        "device": describe_device(),
        "trials": {"wanted": spec.search.trials, "finished": count_finished(list(before)), "left": outlook.left},
        **_work(outlook),
        "full_trial": _full_trial(outlook),
        "search": _search(outlook),
        "memory": _memory(outlook),
        "disk": disk,
        "timed": {"steps": outlook.costs.steps, "seconds": outlook.costs.seconds},
        "notes": _notes(outlook),
    }


def ended(spec: StudySpec, direction: Direction, trials: Sequence[Planned], before: int) -> NDArray[Any]:
    """Which rung each trial would end at under the study's pruner, in several made-up searches: (searches, trials).

    Rungs are counted from 0; -1 is the last. A trial has one made-up score, which every rung tells: no trial is
    likelier to be good than another, and a rung ranks them as the last one does. `before` more trials came earlier.
    """
    earlier = [trials[place % len(trials)] for place in range(min(before, DRAWN))]
    every = [list(trial.rungs) for trial in [*earlier, *trials]]
    rng = np.random.default_rng(spec.search.seed)
    searches = max(LEAST_SEARCHES, MADE_UP // len(every))
    made = [_made_up(spec, direction, every, rng.random(len(every)))[len(earlier) :] for _ in range(searches)]
    return np.array(made)


def _made_up(spec: StudySpec, direction: Direction, rungs: Sequence[Sequence[int]], scores: NDArray[Any]) -> list[int]:
    """The place among its rungs at which each trial of one made-up search ended."""
    study = optuna.create_study(  # hyperband's brackets follow from the name
        study_name=spec.name, direction=direction, sampler=optuna.samplers.RandomSampler(), pruner=build_pruner(spec)
    )
    places = []
    for number, (own, score) in enumerate(zip(rungs, scores.tolist(), strict=True)):
        trial = study.ask()
        trial.set_user_attr("place", number)
        place = 0
        trial.report(score, own[place])
        while place < len(own) - 1 and not trial.should_prune():
            place += 1
            trial.report(score, own[place])
        if place < len(own) - 1:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, score)
        places.append(place)
    return places


def _outlook(
    task: RunContext, before: Sequence[FrozenTrial], once: dict[str, float], listener: SearchListener
) -> tuple[Outlook, dict[str, int]]:
    """The trials that are left with their costs, and the bytes that they leave on disk."""
    began = time.monotonic()
    plan = Plan(task)
    starting = time.monotonic() - began
    values = draws(task.spec, task.direction, before)
    wanted = task.spec.search.trials - count_finished(list(before))
    left = wanted if len(values) == DRAWN else len(values)  # a grid may come to its end
    planned = [plan.of(each) for each in values] or [plan.of(middle(task.spec.space))]
    costs = probe.measure(
        task, middle(task.spec.space), [each.batch for each in planned], lambda step: listener.step(step, 0, None)
    )
    outlook = Outlook(
        task,
        before,
        planned,
        left,
        costs,
        costs.batch.of(*plan.evaluation()) + costs.scoring,
        {**once, "starting": starting + costs.first},
    )
    return outlook, {
        "model": plan.model_bytes() + _tokenizer_bytes(task),
        "store": STORE * (not before) + PER_TRIAL * left,
    }


def _work(outlook: Outlook) -> dict[str, int]:
    """Optimizer steps, examples and tokens of all trials, run to their ends."""
    done = [trial.done[-1] for trial in outlook.planned]
    columns = {"steps": [trial.steps for trial in outlook.planned]}
    columns |= {name: [row[at] for row in done] for at, name in enumerate(("examples", "tokens", "padded_tokens"))}
    return {name: round(outlook.total(column)) for name, column in columns.items()}


def _full_trial(outlook: Outlook) -> dict[str, float]:
    """Seconds of one trial that nothing prunes: the median, the ends, and the median trial's parts."""
    ranked = sorted(outlook.planned, key=lambda trial: float(outlook.seconds(trial)[-1]))
    seconds = [float(outlook.seconds(trial)[-1]) for trial in ranked]
    middling = len(ranked) // 2
    evaluation = len(ranked[middling].rungs) * outlook.evaluation
    return {
        "seconds": seconds[middling],
        "shortest": seconds[0],
        "longest": seconds[-1],
        "training": seconds[middling] - evaluation - outlook.costs.around,
        "evaluation": evaluation,
        "around": outlook.costs.around,
    }


def _search(outlook: Outlook) -> dict[str, Any]:
    """Seconds of the whole search with and without pruning, and how many of its trials fit into its time."""
    spec, together = outlook.spec, _side_by_side(outlook.spec)
    seconds = [outlook.seconds(trial) for trial in outlook.planned]
    whole = [float(each[-1]) for each in seconds]
    found: dict[str, Any] = {
        "pruner": spec.search.pruner.name,
        **outlook.once,
        "without_pruning": outlook.total(whole) / together,
        "with_pruning": None,
        "share_run": None,
        "side_by_side": together,
        "timeout": spec.search.timeout,
        "fit": None,
    }
    expected = whole
    if spec.search.pruner.name in RANKING:
        places = ended(spec, outlook.task.direction, outlook.planned, count_finished(list(outlook.before)))
        expected = [float(each[places[:, at]].mean()) for at, each in enumerate(seconds)]
        steps = [np.array([*trial.rungs.values()]) for trial in outlook.planned]
        run = [float(each[places[:, at]].mean()) for at, each in enumerate(steps)]
        found["with_pruning"] = outlook.total(expected) / together
        found["share_run"] = sum(run) / sum(int(each[-1]) for each in steps)
    if spec.search.timeout is not None:
        left = spec.search.timeout - spent_seconds(list(outlook.before))
        ends = np.cumsum(np.resize(expected, outlook.left)) / together
        found["fit"] = int((ends <= left).sum())
    return found


def _side_by_side(spec: StudySpec) -> int:
    """Trials that run at once as fast as one alone.

    Workers on one processor, or on one accelerator, share what a trial alone has whole: no more is done by more.
    """
    if spec.search.engine == "ray":
        return spec.search.workers
    return min(spec.search.workers, max(1, torch.cuda.device_count()))


def _memory(outlook: Outlook) -> dict[str, Any]:
    """Bytes at the peak of the few steps, and what batch they were met in."""
    return {
        "bytes": outlook.costs.memory,
        "of": "accelerator" if torch.cuda.is_available() else "process",
        "rows": max(trial.batch[0] for trial in outlook.planned),
        "tokens": int(outlook.task.train.lengths.max()),
        "split": outlook.costs.split,
    }


def _tokenizer_bytes(task: RunContext) -> int:
    with tempfile.TemporaryDirectory() as folder:
        task.checkpoint.tokenizer.save_pretrained(folder)
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def _notes(outlook: Outlook) -> list[str]:
    """What a reader should know before believing the figures."""
    spec, told = outlook.spec, []
    name = spec.search.pruner.name
    if name in RANKING:
        told.append(f"with {name}: an expectation, for trials that every rung ranks as the last one does")
    elif name != "none":
        told.append(f"what {name} prunes hangs on the scores themselves, so nothing is expected of it")
    if outlook.left > len(outlook.planned):
        told.append(
            f"{len(outlook.planned)} of the {outlook.left:,} trials were drawn; the others are taken to be alike"
        )
    elif outlook.left < spec.search.trials - count_finished(list(outlook.before)):
        told.append("the sampler has no more values than that to try")
    together = _side_by_side(spec)
    if spec.search.workers > together:
        where = "accelerators" if torch.cuda.is_available() else "processor"
        told.append(f"{spec.search.workers} workers share the {where}: no faster than {together}, and more memory")
    if outlook.costs.split > 1:
        told.append(f"the longest texts do not fit: such a batch is cut into {outlook.costs.split} parts, in more time")
    values = middle(spec.space)
    unlike = [f"{name} = {values[name]}" for name in values if name in UNLIKE or name.startswith("model.")]
    if unlike:
        told.append(f"timed with {', '.join(unlike)}; trials of other values may be faster or slower")
    return told
