"""The best configuration of a study, as JSON values, TOML, YAML, or Python code that runs without hpo."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tomli_w
import yaml
from pydantic import Field, model_validator

from hpo.errors import HpoError, ModelError, StudyError
from hpo.evaluation.comparison_result import SeedSummary
from hpo.evaluation.scores import summarize_seeds
from hpo.evaluation.winner import choose_deployed_run, find_winner
from hpo.results.formatting import format_mean_sd
from hpo.results.study_results import StudyResults
from hpo.results.template_environment import template_environment
from hpo.search.budget import count_finished
from hpo.store.attributes import RunProvenance, read_part
from hpo.store.outages import damaged_store_error
from hpo.store.run_record import RunRecord
from hpo.store.study_record import DataSummary
from hpo.store.trial_record import TrialRecord
from hpo.study.spec import StudySpec
from hpo.study.storage_url import StorageUrl
from hpo.training.arguments import select_arguments, select_model_fields
from hpo.training.model_folder import read_model_info

DEFAULT_BATCH_SIZE = 8  # per_device_train_batch_size of TrainingArguments


class SeedScores(SeedSummary):
    """One score over the retrained runs, with their seeds."""

    values: list[float] = Field(min_length=1)
    seeds: list[int]

    @model_validator(mode="after")
    def _has_a_seed_per_value(self) -> SeedScores:
        if len(self.seeds) != len(self.values):
            raise ValueError(f"has {len(self.values)} values for {len(self.seeds)} seeds")
        return self

    @classmethod
    def from_runs(cls, runs: Sequence[RunRecord], split: str, metric: str) -> SeedScores | None:
        """Summarize a score of runs on one split; None if a run lacks it."""
        values = [scores.metrics.get(metric) for run in runs if (scores := run.scores_on(split))]
        defined = [value for value in values if value is not None]
        if not runs or len(defined) < len(runs):
            return None
        return cls(**summarize_seeds(defined).model_dump(), seeds=[run.seed for run in runs])


@dataclass(frozen=True)
class BestConfig:
    """The trial with the best values, and the complete retrained runs of these values, if there are any."""

    results: StudyResults
    trial: TrialRecord
    runs: list[RunRecord]

    @property
    def values(self) -> dict[str, Any]:
        """Hyperparameter -> value as sampled, in the order of the search space."""
        return {name: self.trial.params[name] for name in self.results.spec.space.parameters}

    @property
    def all_fields(self) -> dict[str, Any]:
        """Fixed fields, accelerations and sampled values, under the names that a study file uses."""
        return {**self.results.fixed_fields, **self.values}

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of TrainingArguments; `warmup_ratio` is passed as `warmup_steps`."""
        return select_arguments(self.all_fields)

    @property
    def model_fields(self) -> dict[str, Any]:
        """Values of fields of the model's configuration."""
        return select_model_fields(self.all_fields)

    @cached_property
    def deployed_run(self) -> RunRecord | None:
        """The run whose model is in the model folder, or would be if there were one; None without runs."""
        try:
            stored = read_model_info(self.results.spec.model_folder).made
        except ModelError:
            stored = {}
        for run in self.runs:
            if stored.get("run") == run.key and read_part(RunProvenance, stored["provenance"]) == run.provenance:
                return run
        if not self.runs:
            return None
        return choose_deployed_run(self.results.spec, self.runs, self.results.directions[0], None)

    @property
    def seed(self) -> int:
        """The seed of the deployed run, or of the trial if there are no runs."""
        run = self.deployed_run
        return run.seed if run else int(self.trial.seed or 0)

    def retrained_scores(self, split: str) -> SeedScores | None:
        """Return the objective over the retrained runs on `validation` or `test`.

        None without runs or without the split, and for validation if the runs were trained on its rows.
        """
        if split == "validation" and self.results.spec.final.train_on != "train":
            return None
        return SeedScores.from_runs(self.runs, split, self.results.spec.objective)


def find_best_config(results: StudyResults) -> BestConfig:
    """Return the best configuration: the winner among the retrained candidates, or else the best trial of the search.

    Raises StudyError if there is none: no complete trial, several objectives, or a study that hpo did not create.
    """
    name = results.search.study_name
    if not results.is_ours:
        raise StudyError(
            f"study {name!r} was not created by hpo, so what its values configure is unknown; "
            "--format trials-csv exports all that is stored"
        )
    if len(results.directions) > 1:
        raise StudyError(
            f"study {name!r} has {len(results.directions)} objectives, so no single trial is the best; "
            "--format trials-csv exports all trials"
        )
    if results.best is None:
        raise StudyError(f"study {name!r} has no complete trial; continue with `{results.spec.command('search')}`")
    if results.companion is not None:
        try:
            candidate, runs = find_winner(results.spec, results.search, results.companion)
        except HpoError:
            pass  # some runs are missing or failed, so the best trial of the search stands
        else:
            return BestConfig(results, results.trials[candidate.trial], [results.runs[run.number] for run in runs])
    return BestConfig(results, results.best, [])


def best_config_dict(results: StudyResults) -> dict[str, Any]:
    """Return the best configuration as JSON values. Raises StudyError like `find_best_config`.

    `value` is the trial's own score on validation; `validation` and `test` are mean, sd, values and seeds of the
    retrained runs, or None. `values` are as sampled, `effective` as read back from the live run; `training` can be
    passed to TrainingArguments, `model` to the model's configuration.
    """
    best = find_best_config(results)
    spec, trial, data = results.spec, best.trial, stored_data(results)
    validation, test = best.retrained_scores("validation"), best.retrained_scores("test")
    return {
        "study": spec.name,
        "objective": spec.objective,
        "direction": results.directions[0],
        "trial": trial.number,
        "found": f"{trial.completed:%Y-%m-%d}",
        "value": trial.value,
        "validation": validation.model_dump() if validation else None,
        "test": test.model_dump() if test else None,
        "checkpoint": spec.model.checkpoint,
        "revision": spec.model.revision,
        "max_length": spec.model.max_length,
        "clean": _cleaning_steps(spec),
        "labels": list(data.labels),
        "data": data.fingerprint,
        "seed": best.seed,
        "values": best.values,
        "training": best.arguments,
        "model": best.model_fields,
        "effective": dict(trial.effective),
        "batch_split": trial.batch_split,
        "versions": dict(trial.provenance.versions),
    }


def best_config_json(results: StudyResults) -> str:
    """Return `best_config_dict` as JSON."""
    return json.dumps(best_config_dict(results), indent=2, ensure_ascii=False) + "\n"


def best_config_yaml(results: StudyResults) -> str:
    """Return `best_config_dict` as YAML, with its scores in comments on top."""
    values = str(yaml.safe_dump(best_config_dict(results), sort_keys=False, allow_unicode=True))
    return _comment_lines(find_best_config(results)) + values


def best_config_toml(results: StudyResults) -> str:
    """Return the best configuration as tables of a study file: [model], and [training] with the best values fixed."""
    best, spec = find_best_config(results), results.spec
    model = {name: value for name, value in spec.model.model_dump(mode="json").items() if value not in (None, False)}
    tables: dict[str, Any] = {"model": model, "training": {**best.all_fields, "speed": "exact"}}
    if spec.data.clean:
        tables = {"data": {"clean": _cleaning_steps(spec)}, **tables}
    usage = [
        "To use it again, copy these tables into a study file, where they fix the values that were searched,",
        "and remove the same names from its search space.",
    ]
    return _comment_lines(best, usage) + "\n" + tomli_w.dumps(tables)


def best_config_python(results: StudyResults) -> str:
    """Return the best configuration as Python code that trains with plain transformers and does not import hpo."""
    best, spec = find_best_config(results), results.spec
    folder = "model" if spec.model_folder.is_dir() else "best"
    return render_template(
        "best.py.j2",
        study=spec.name,
        score=_describe_scores(best),
        model=spec.model,
        tiny_from=f"{spec.name}/{folder}",
        labels=list(stored_data(results).labels),
        changes=best.model_fields,
        seed=best.seed,
        arguments={"output_dir": f"{spec.name}-best", "seed": best.seed, "save_strategy": "no", **best.arguments},
        mixed=any(best.arguments.get(name) is True for name in ("bf16", "fp16")),
        clean=_cleaning_steps(spec),
        accumulation=best.arguments.get("gradient_accumulation_steps", 1),
        smoothing=best.arguments.get("label_smoothing_factor", 0.0),
        split=best.trial.batch_split,
        batch=best.arguments.get("per_device_train_batch_size", DEFAULT_BATCH_SIZE),
        best_rung=spec.search.value == "best",
    )


def render_template(template: str, **values: Any) -> str:
    """Fill in a template of this package as plain text; nothing is escaped."""
    environment = template_environment("hpo.results")
    environment.filters["literal"] = python_literal
    return environment.get_template(template).render(values)


def python_literal(value: Any) -> str:
    """Return a JSON or TOML value as Python source code, with double quotes if possible."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, Mapping):
        items = (f"{python_literal(name)}: {python_literal(item)}" for name, item in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(python_literal, value)) + "]"
    source = repr(value)
    if isinstance(value, str) and source[0] == "'" and '"' not in value:
        return f'"{source[1:-1]}"'
    return source


def stored_data(results: StudyResults) -> DataSummary:
    """Return what the store holds of the data of a study that hpo created."""
    data = results.study.data
    if data is None:  # hpo stores it when it creates a study
        url = StorageUrl.parse(results.url)
        raise damaged_store_error(url, f"attribute 'data' of study {results.search.study_name!r} is missing")
    return data


def _cleaning_steps(spec: StudySpec) -> list[Any]:
    """Return the cleaning steps as a study file writes them: the name, or a table if there are options."""
    return [{"name": step.name, **step.options} if step.options else step.name for step in spec.data.clean]


def _describe_scores(best: BestConfig) -> list[str]:
    """Return the scores of the configuration, one sentence per line."""
    results, objective = best.results, best.results.spec.objective
    count = count_finished(results.frozen_trials)
    is_first = results.best is None or best.trial.number == results.best.number
    choice = f"the best of {count} trials" if is_first else f"chosen by retraining the best of {count} trials"
    lines = [f"{objective} {best.trial.value:.4f} on validation, {choice}"]
    for split in ("validation", "test"):
        if scores := best.retrained_scores(split):
            runs = len(scores.values)
            retrained = f"{runs} retrained runs" if runs > 1 else "one retrained run"
            lines.append(f"{objective} {format_mean_sd(scores)} on {split} in {retrained} with the same values")
    return lines


def _comment_lines(best: BestConfig, more: Sequence[str] = ()) -> str:
    title = f'The best configuration of study "{best.results.spec.name}": trial #{best.trial.number}'
    scores = (f"{line}." for line in _describe_scores(best))
    lines = [f"{title}, {best.trial.completed:%Y-%m-%d}.", *scores, *more]
    return "".join(f"# {line}\n" for line in lines)
