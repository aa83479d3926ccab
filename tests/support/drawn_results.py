"""Study results made by hand, for figures: a search with any trials, and final runs with any probabilities."""

from __future__ import annotations

from collections.abc import Sequence
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
from hpo.evaluation.scores import score_run
from hpo.evaluation.sealed_split import record_use
from hpo.evaluation.system_runs import SystemRuns
from hpo.evaluation.winner import select_candidates
from hpo.results.study_results import LoadedComparison, StudyResults
from hpo.store.run_record import RunRecord
from hpo.store.study_record import companion_name
from hpo.store.trial_record import TrialRecord
from hpo.study.spec import StudySpec, load_study
from hpo.training.metrics import Direction

DISTRIBUTIONS: dict[str, BaseDistribution] = {
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
SEARCH_START = datetime(2026, 3, 2, 9, 0)


def write_study(folder: Path, objective: str = "accuracy", search: str = "") -> StudySpec:
    """A study that searches DISTRIBUTIONS."""
    file = folder / "drawn.toml"
    file.write_text(STUDY.format(objective=objective, search=search))
    return load_study(file)


def make_trial(
    value: float | list[float] | None = None,
    rungs: dict[int, float] | None = None,
    params: dict[str, Any] | None = None,
    reason: str = "",
    *,
    start: float = 0.0,
    wall: float = 60.0,
    pid: int = 1,
) -> FrozenTrial:
    """A trial that is complete, or ended (or runs) for a reason; it starts so many seconds after the search."""
    states = {"": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "running": TrialState.RUNNING}
    state = states.get(reason.partition(":")[0], TrialState.FAIL)
    values = value if isinstance(value, list) or value is None else [value]
    worker = {"host": "node", "pid": pid, "started": 0.0}
    trial = create_trial(
        state=state,
        values=values if state == TrialState.COMPLETE else None,
        params=params or {},
        distributions={name: DISTRIBUTIONS[name] for name in params or {}},
        intermediate_values=rungs or {},
        user_attrs={"worker": worker, "seconds": {"wall": wall}, "reason": reason, "provenance": {"device": "cpu"}},
    )
    trial.datetime_start = SEARCH_START + timedelta(seconds=start)
    trial.datetime_complete = None if state == TrialState.RUNNING else trial.datetime_start + timedelta(seconds=wall)
    return trial


def sample_params(random: np.random.Generator) -> dict[str, Any]:
    """A value for each of DISTRIBUTIONS."""
    return {
        "learning_rate": float(10 ** random.uniform(-6, -2)),
        "warmup_ratio": float(random.uniform(0, 0.2)),
        "num_train_epochs": int(random.integers(1, 6)),
        "optim": str(random.choice(["adamw_torch", "adafactor"])),
        "model.use_bias": bool(random.integers(2)),
    }


def make_results(
    spec: StudySpec,
    trials: Sequence[FrozenTrial],
    is_ours: bool = True,
    directions: Sequence[Direction] = ("maximize",),
) -> StudyResults:
    """The results of a search alone."""
    study = optuna.create_study(study_name=spec.name, directions=list(directions))
    if is_ours:
        study.set_user_attr("spec", spec.resolved())
    study.add_trials(trials)
    return results_of_study(spec, study)


def results_of_study(spec: StudySpec, study: optuna.Study, companion: optuna.Study | None = None) -> StudyResults:
    """The results of studies in memory, which are in no store."""
    return StudyResults(spec, "", study._storage, study, companion)


def make_large_results(spec: StudySpec, trials: Sequence[FrozenTrial]) -> StudyResults:
    """The results of thousands of trials, which an in-memory storage would take long to copy."""
    results = make_results(spec, [])
    for number, trial in enumerate(trials):
        trial.number = trial._trial_id = number
    vars(results)["frozen_trials"] = list(trials)
    vars(results)["trials"] = [TrialRecord.from_trial(trial) for trial in trials]
    return results


def make_compared_results(
    spec: StudySpec, systems: dict[str, list[Any]], labels: Any, label_names: list[str]
) -> StudyResults:
    """Results with final runs: system, the winner first -> probabilities (n, k) of each seed's test texts."""
    direction: Direction = "minimize" if spec.objective == "log_loss" else "maximize"
    best = make_trial(0.9, {1000: 0.9}, sample_params(np.random.default_rng(0)))
    search = make_results(spec, [best], directions=(direction,)).search
    companion = optuna.create_study(study_name=companion_name(spec.name), storage=search._storage, direction=direction)
    rows = {"train": 100, "validation": 50, "test": len(labels)}
    companion.set_user_attr("data", {"fingerprint": "", "labels": label_names, "rows": rows})
    system_runs = []
    for name, seeds in systems.items():
        tables = [_make_predictions(probabilities, labels) for probabilities in seeds]
        runs = [_add_run(companion, name, seed, probs, labels, label_names) for seed, probs in enumerate(seeds)]
        system_runs.append(SystemRuns(name, [RunRecord.from_trial(run) for run in runs], [], tables))
    record_use(companion, spec, "compare", "0123456789abcdef")
    candidate = select_candidates(search, 1)[0]
    comparison = Comparison(spec, search, companion, candidate, system_runs, [], {}, no_progress)
    results = results_of_study(spec, search, companion)
    results.loaded = LoadedComparison(comparison, comparison.to_result(), "")  # instead of one read from the store
    return results


def _make_predictions(probabilities: Any, labels: Any) -> pandas.DataFrame:
    table = pandas.DataFrame(
        {"row": np.arange(len(labels)), "label": labels, "predicted": probabilities.argmax(axis=1)}
    )
    return table.assign(**{f"probability_{index}": column for index, column in enumerate(probabilities.T)})


def _add_run(
    companion: optuna.Study, name: str, seed: int, probabilities: Any, labels: Any, label_names: list[str]
) -> FrozenTrial:
    scores = score_run(np.asarray(labels), probabilities, label_names)
    objective = "log_loss" if companion.direction.name == "MINIMIZE" else "accuracy"
    # The winner's fourth seed is the best on validation, so its run is the deployed one.
    validation = {**scores.metrics, "accuracy": 0.9 - abs(seed - 3) / 100}
    attributes = {
        "run": {"kind": name, "seed": seed, "train_on": "train", "values": {}},
        "system": name,
        "seed": seed,
        "seconds": {"fit": 10.0, "wall": 11.0, "predict": 1.0},
        "validation": replace(scores, metrics=validation).to_attribute(),
        "test": scores.to_attribute(),
        "trained_on": "train",
        "predicted_per_second": 100.0,
    }
    companion.add_trial(create_trial(value=validation[objective], user_attrs=attributes))
    return companion.get_trials(deepcopy=False)[-1]


def sample_probabilities(labels: Any, classes: int, skill: float, seed: int) -> Any:
    """Probabilities (n, classes) of a classifier, better with a higher skill."""
    logits = np.random.default_rng(seed).normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += skill
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)
