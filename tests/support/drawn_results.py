"""Records made up by hand, for figures: a search of any trials, and final runs of any probabilities."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.evaluation.comparison import Comparison, no_progress
from hpo.evaluation.retraining import select_candidates
from hpo.evaluation.scores import score_run
from hpo.evaluation.sealed_split import record_use
from hpo.evaluation.system_runs import SystemRuns
from hpo.results.study_results import StudyResults
from hpo.store.records import RunRecord
from hpo.store.storage import companion_name
from hpo.study.spec import StudySpec, load_study

AXES: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-6, 1e-2, log=True),
    "warmup_ratio": FloatDistribution(0.0, 0.2),
    "num_train_epochs": IntDistribution(1, 5),
    "optim": CategoricalDistribution(["adamw_torch", "adafactor"]),
    "model.use_bias": CategoricalDistribution([True, False]),
}
STUDY = """\
name = "drawn"
objective = "{objective}"
[data]
source = "builtin:reviews"
[model]
checkpoint = "builtin:tiny"
[search]
{search}
[space.parameters]
learning_rate = {{ low = 1e-6, high = 1e-2, log = true }}
warmup_ratio = {{ low = 0.0, high = 0.2 }}
num_train_epochs = {{ low = 1, high = 5 }}
optim = {{ choices = ["adamw_torch", "adafactor"] }}
"model.use_bias" = {{ choices = [true, false] }}
"""
BEGUN = datetime(2026, 3, 2, 9, 0)


def spec_of(folder: Path, objective: str = "accuracy", search: str = "") -> StudySpec:
    """A study of AXES."""
    file = folder / "drawn.toml"
    file.write_text(STUDY.format(objective=objective, search=search))
    return load_study(file)


def trial(
    value: float | list[float] | None = None,
    curve: dict[int, float] | None = None,
    params: dict[str, Any] | None = None,
    reason: str = "",
    *,
    start: float = 0.0,
    wall: float = 60.0,
    pid: int = 1,
) -> FrozenTrial:
    """A trial that is complete, or has ended (or runs) for a reason; it starts so many seconds after the search."""
    states = {"": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "running": TrialState.RUNNING}
    state = states.get(reason.partition(":")[0], TrialState.FAIL)
    values = value if isinstance(value, list) else [value]
    worker = {"host": "node", "pid": pid, "started": 0.0}
    made = create_trial(
        state=state,
        values=values if state == TrialState.COMPLETE else None,
        params=params or {},
        distributions={name: AXES[name] for name in params or {}},
        intermediate_values=curve or {},
        user_attrs={"worker": worker, "seconds": {"wall": wall}, "reason": reason},
    )
    made.datetime_start = BEGUN + timedelta(seconds=start)
    made.datetime_complete = None if state == TrialState.RUNNING else made.datetime_start + timedelta(seconds=wall)
    return made


def drawn_values(random: np.random.Generator) -> dict[str, Any]:
    """A value for each of AXES."""
    return {
        "learning_rate": float(10 ** random.uniform(-6, -2)),
        "warmup_ratio": float(random.uniform(0, 0.2)),
        "num_train_epochs": int(random.integers(1, 6)),
        "optim": str(random.choice(["adamw_torch", "adafactor"])),
        "model.use_bias": bool(random.integers(2)),
    }


def searched(
    spec: StudySpec, trials: list[FrozenTrial], ours: bool = True, directions: Any = ("maximize",)
) -> StudyResults:
    """A record of a search alone."""
    study = optuna.create_study(study_name=spec.name, directions=directions)
    if ours:
        study.set_user_attr("spec", spec.resolved())
    study.add_trials(trials)
    return StudyResults(spec, "", study._storage, study, None)


def compared(spec: StudySpec, systems: dict[str, list[Any]], labels: Any, names: list[str]) -> StudyResults:
    """A record with final runs: system, the winner first -> probabilities (n, k) of each seed's test texts."""
    direction = "minimize" if spec.objective == "log_loss" else "maximize"
    record = searched(spec, [trial(0.9, {1000: 0.9}, drawn_values(np.random.default_rng(0)))], directions=(direction,))
    companion = optuna.create_study(study_name=companion_name(spec.name), storage=record.storage, direction=direction)
    companion.set_user_attr(
        "data", {"fingerprint": "", "labels": names, "rows": {"train": 100, "validation": 50, "test": len(labels)}}
    )
    made = []
    for name, each in systems.items():
        tables = [_table(shares, labels) for shares in each]
        runs = [_run(companion, name, seed, shares, labels, names) for seed, shares in enumerate(each)]
        made.append(SystemRuns(name, [RunRecord.from_trial(run) for run in runs], [], tables))
    record_use(companion, spec, "compare", "0123456789abcdef")
    best = select_candidates(record.search, 1)[0]
    comparison = Comparison(spec, record.search, companion, best, made, [], {}, no_progress)
    compared = StudyResults(spec, "", record.storage, record.search, companion)
    vars(compared)["_weighed"] = comparison, ""  # in place of what the store would say
    return compared


def _table(shares: Any, labels: Any) -> pandas.DataFrame:
    table = pandas.DataFrame({"row": np.arange(len(labels)), "label": labels, "predicted": shares.argmax(axis=1)})
    return table.assign(**{f"probability_{place}": column for place, column in enumerate(shares.T)})


def _run(companion: optuna.Study, name: str, seed: int, shares: Any, labels: Any, names: list[str]) -> FrozenTrial:
    found = score_run(np.asarray(labels), shares, names)
    objective = "log_loss" if companion.direction.name == "MINIMIZE" else "accuracy"
    # The winner's fourth seed is the best on validation, and so the one that is deployed.
    validation = {**found.metrics, "accuracy": 0.9 - abs(seed - 3) / 100}
    attributes = {
        "run": {"kind": name, "seed": seed, "train_on": "train", "values": {}},
        "system": name,
        "seed": seed,
        "seconds": {"fit": 10.0, "wall": 11.0, "predict": 1.0},
        "validation": replace(found, metrics=validation).to_attribute(),
        "test": found.to_attribute(),
        "trained_on": "train",
        "predicted_per_second": 100.0,
    }
    companion.add_trial(create_trial(value=validation[objective], user_attrs=attributes))
    return companion.get_trials(deepcopy=False)[-1]


def answers(labels: Any, classes: int, skill: float, seed: int) -> Any:
    """Probabilities (n, classes), the better the higher the skill."""
    logits = np.random.default_rng(seed).normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += skill
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)
