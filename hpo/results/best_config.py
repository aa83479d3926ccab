"""The best configuration of a study, to be taken along: as JSON values, TOML, YAML, or Python that runs without hpo."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

import tomli_w
import yaml
from jinja2 import Environment, StrictUndefined
from optuna.trial import FrozenTrial

from hpo.errors import HpoError, ModelError, StudyError
from hpo.evaluation.retraining import choose_deployed_run, find_winner
from hpo.evaluation.scores import summarize_seeds
from hpo.results.formatting import format_mean_sd
from hpo.results.study_results import StudyResults
from hpo.search.budget import count_finished
from hpo.study.spec import StudySpec
from hpo.training.arguments import select_arguments, select_model_fields
from hpo.training.model_folder import read_model_info


@dataclass(frozen=True)
class BestConfig:
    """The trial whose values are the best, and the complete fresh runs of these values, where there are any."""

    record: StudyResults
    trial: FrozenTrial
    runs: list[FrozenTrial]

    @property
    def values(self) -> dict[str, Any]:
        """Parameter -> value as sampled, in the order of the search space."""
        return {name: self.trial.params[name] for name in self.record.spec.space.parameters}

    @property
    def whole(self) -> dict[str, Any]:
        """Fixed fields, levers and sampled values, by the names that a study file has for them."""
        return {**self.record.fixed, **self.values}

    @property
    def arguments(self) -> dict[str, Any]:
        """What TrainingArguments takes: the fixed fields and the sampled values, warmup as `warmup_steps`."""
        return select_arguments(self.whole)

    @property
    def model(self) -> dict[str, Any]:
        """The values that are fields of the model's own configuration."""
        return select_model_fields(self.whole)

    @cached_property
    def deployed_run(self) -> FrozenTrial | None:
        """The run whose model lies in the model folder, or would if it were there; None without runs."""
        try:
            made = read_model_info(self.record.spec.model_folder).made
        except ModelError:
            made = {}
        for run in self.runs:
            if all(made.get(name) == run.user_attrs[name] for name in ("run", "provenance")):
                return run
        return choose_deployed_run(self.record.spec, self.runs, self.record.directions[0], None) if self.runs else None

    @property
    def seed(self) -> int:
        """The seed of that run, else of the trial."""
        return int((self.deployed_run or self.trial).user_attrs["seed"])

    def fresh(self, split: str) -> dict[str, Any] | None:
        """Mean, sd and values of the objective over the fresh runs, on `validation` or `test`, and the runs' seeds.

        None without runs, without the split, and for rows that the runs were trained on.
        """
        seen = split == "validation" and self.record.spec.final.train_on != "train"
        runs = [run for run in self.runs if split in run.user_attrs]
        if seen or not runs:
            return None
        values = [run.user_attrs[split]["metrics"].get(self.record.spec.objective) for run in runs]
        if None in values:
            return None
        return {**summarize_seeds(values), "seeds": [run.user_attrs["seed"] for run in runs]}


def find_best_config(record: StudyResults) -> BestConfig:
    """The best of a study: of the candidates that were retrained the winner, else the search's best trial.

    Raises StudyError where there is none: no complete trial, several objectives, a study that hpo did not make.
    """
    name = record.search.study_name
    if not record.is_ours:
        raise StudyError(
            f"study {name!r} was not made by hpo, so nothing is known of what its values trained; "
            "--format trials-csv has all that is stored"
        )
    if len(record.directions) > 1:
        raise StudyError(
            f"study {name!r} has {len(record.directions)} objectives, so no one trial is the best; "
            "--format trials-csv has all trials"
        )
    if record.best is None:
        raise StudyError(f"no trial of study {name!r} is complete; `{record.spec.command('search')}` goes on")
    if record.companion is not None:
        try:
            chosen, runs = find_winner(record.spec, record.search, record.companion)
            return BestConfig(record, record.trials[chosen.trial], runs)
        except HpoError:
            pass  # not all runs are there yet
    return BestConfig(record, record.best, [])


def best_config_dict(record: StudyResults) -> dict[str, Any]:
    """The best configuration as JSON values.

    `value` is the trial's own, on validation; `validation` and `test` are mean, sd and values of fresh runs, where
    there are any. `values` are as sampled, `effective` as read back from the live run; `training` is for
    TrainingArguments as it is, `model` for the model's configuration. Raises StudyError as `find`.
    """
    best = find_best_config(record)
    spec, attributes = record.spec, best.trial.user_attrs
    return {
        "study": spec.name,
        "objective": spec.objective,
        "direction": record.directions[0],
        "trial": best.trial.number,
        "found": f"{best.trial.datetime_complete:%Y-%m-%d}",
        "value": best.trial.value,
        "validation": best.fresh("validation"),
        "test": best.fresh("test"),
        "checkpoint": spec.model.checkpoint,
        "revision": spec.model.revision,
        "max_length": spec.model.max_length,
        "clean": _cleaning(spec),
        "labels": record.search.user_attrs["data"]["labels"],
        "data": record.search.user_attrs["data"]["fingerprint"],
        "seed": best.seed,
        "values": best.values,
        "training": best.arguments,
        "model": best.model,
        "effective": attributes["effective"],
        "batch_split": attributes.get("batch_split"),
        "versions": attributes["provenance"]["versions"],
    }


def best_config_json(record: StudyResults) -> str:
    """`as_dict` as JSON."""
    return json.dumps(best_config_dict(record), indent=2, ensure_ascii=False) + "\n"


def best_config_yaml(record: StudyResults) -> str:
    """`as_dict` as YAML, with the same lines of comment on top as the TOML has."""
    return _comments(find_best_config(record)) + str(
        yaml.safe_dump(best_config_dict(record), sort_keys=False, allow_unicode=True)
    )


def best_config_toml(record: StudyResults) -> str:
    """The best configuration as tables of a study file: [model], [training] with the best values fixed."""
    best = find_best_config(record)
    spec = record.spec
    model = {name: value for name, value in spec.model.model_dump(mode="json").items() if value not in (None, False)}
    tables: dict[str, Any] = {"model": model, "training": {**best.whole, "speed": "exact"}}
    if spec.data.clean:
        tables = {"data": {"clean": _cleaning(spec)}, **tables}
    use = [
        "To use it again, take these tables over into a study file, where they fix what was searched;",
        "then take the same names out of its search space.",
    ]
    return _comments(best, use) + "\n" + tomli_w.dumps(tables)


def best_config_python(record: StudyResults) -> str:
    """The best configuration as Python that trains with plain transformers; it needs nothing of hpo."""
    best = find_best_config(record)
    spec = record.spec
    accumulation = best.arguments.get("gradient_accumulation_steps", 1)
    return render_template(
        "best.py.j2",
        study=spec.name,
        score=_scores(best),
        model=spec.model,
        tiny_from=f"{spec.name}/{'model' if spec.model_folder.is_dir() else 'best'}",
        labels=record.search.user_attrs["data"]["labels"],
        changes=best.model,
        seed=best.seed,
        arguments={"output_dir": f"{spec.name}-best", "seed": best.seed, "save_strategy": "no", **best.arguments},
        mixed=bool({"bf16", "fp16"} & {name for name, value in best.arguments.items() if value is True}),
        clean=_cleaning(spec),
        accumulation=accumulation,
        smoothing=best.arguments.get("label_smoothing_factor", 0.0),
        split=best.trial.user_attrs.get("batch_split"),
        batch=best.arguments.get("per_device_train_batch_size", 8),
        best_rung=spec.search.value == "best",
    )


def render_template(template: str, **values: Any) -> str:
    """A template of this room with its values filled in, as plain text: nothing is escaped."""
    room = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    room.filters["literal"] = python_literal
    return room.from_string((files("hpo.results") / "templates" / template).read_text(encoding="utf8")).render(values)


def python_literal(value: Any) -> str:
    """A JSON or TOML value as Python source."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{python_literal(name)}: {python_literal(inner)}" for name, inner in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(python_literal, value)) + "]"
    quoted = repr(value)
    return f'"{quoted[1:-1]}"' if isinstance(value, str) and quoted[0] == "'" and '"' not in value else quoted


def _cleaning(spec: StudySpec) -> list[Any]:
    """The cleaning steps as a study file has them: the name, with its options where there are any."""
    return [{"name": step.name, **step.options} if step.options else step.name for step in spec.data.clean]


def _scores(best: BestConfig) -> list[str]:
    """What the configuration scores, a sentence a line."""
    record, objective = best.record, best.record.spec.objective
    count = count_finished(record.trials)
    is_first = record.best is None or best.trial.number == record.best.number
    place = f"the best of {count} trials" if is_first else f"chosen among the best of {count} trials by fresh runs"
    lines = [f"{objective} {best.trial.value:.4f} on validation, {place}"]
    for split in ("validation", "test"):
        if held := best.fresh(split):
            count = len(held["values"])
            runs = f"{count} fresh runs" if count > 1 else "one fresh run"
            lines.append(f"{objective} {format_mean_sd(held)} on {split} in {runs} of the same values")
    return lines


def _comments(best: BestConfig, more: tuple[str, ...] | list[str] = ()) -> str:
    head = f'The best configuration of study "{best.record.spec.name}": trial #{best.trial.number}'
    lines = [f"{head}, {best.trial.datetime_complete:%Y-%m-%d}.", *(f"{line}." for line in _scores(best)), *more]
    return "".join(f"# {line}\n" for line in lines)
