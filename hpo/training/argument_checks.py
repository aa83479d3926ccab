"""Refuse fields and values of a study file that training cannot use, before anything is loaded."""

from __future__ import annotations

import enum
import re
import types
import typing
from collections.abc import Mapping
from itertools import product
from typing import Any

from hpo.errors import first_line, unknown_name, unknown_value
from hpo.study.search_space import Parameter
from hpo.study.spec import StudySpec
from hpo.training.acceleration import check_speed
from hpo.training.arguments import ALIASES, argument_types, build_arguments
from hpo.training.model_fields import MODEL_PREFIX
from hpo.training.searchable import SEARCHABLE
from hpo.training.trackers import check_trackers

# Fields that a study file cannot set, and why.


# Fields that a study file cannot set, and why.
RESERVED_FIELDS = dict.fromkeys(
    ("eval_strategy", "eval_steps", "eval_delay", "eval_on_start"),
    "is set by the search: trials are evaluated at rungs",
)
RESERVED_FIELDS |= dict.fromkeys(
    ("seed", "data_seed"), "is set by the search: it follows from search.seed and the trial's index"
)
RESERVED_FIELDS |= dict.fromkeys(
    ("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
    "is set by the search: objective and search.value define what is best",
)
RESERVED_FIELDS |= dict.fromkeys(
    ("push_to_hub", "hub_token", "hub_model_id", "hub_strategy", "hub_private_repo", "hub_revision"),
    "does not belong in a study file: a search never uploads",
)
RESERVED_FIELDS |= dict.fromkeys(
    ("fsdp", "deepspeed", "parallelism_config"), "is not supported: a trial runs on one device"
)
RESERVED_FIELDS |= dict.fromkeys(  # the last two switch compilation on as well
    ("torch_compile", "torch_compile_backend", "torch_compile_mode"),
    "is not supported yet: each trial would compile the model again",
)
RESERVED_FIELDS |= {
    "output_dir": "is set by the search: a study writes into its own folder",
    "auto_find_batch_size": "is not needed: a trial that runs out of memory restarts with a smaller device batch",
    "resume_from_checkpoint": "is not for a search: trials start from the model's checkpoint",
    "logging_nan_inf_filter": "is set by the search: a loss that is not finite ends the trial",
    "remove_unused_columns": "is set by the search",
    "label_names": "is set by the search",
    "prediction_loss_only": "is set by the search: without predictions there is no score",
    "batch_eval_metrics": "is set by the search: metrics are computed over all rows",
    "eval_do_concat_batches": "is set by the search: metrics are computed over all rows",
    "include_for_metrics": "is set by the search: metrics get logits and labels",
    "disable_tqdm": "is set by the search: it shows its own progress",
    "run_name": "is set by the search: each trial is a run with its own name",
}
# Lower bounds of fields that can be fixed but not searched; the others are in SEARCHABLE.
_FIXED_MINIMUM = {"per_device_eval_batch_size": 1}
_UNSUPPORTED_SCHEDULES = dict.fromkeys(
    ("reduce_lr_on_plateau", "greedy"),
    "follows a metric during training, so its learning rates are not known in advance; use linear, cosine or "
    "constant_with_warmup",
)
# What the libraries say -> what to do in a study file, if their own advice is about another program or is refused here.
_REFUSALS = {
    "support bf16": "bf16 is not supported by this GPU; leave it out, or set training.use_cpu = true",
    "At most one of fp16 and bf16": "fp16 and bf16 cannot both be true; leave one out",
    "dataloader_prefetch_factor": "dataloader_prefetch_factor needs training.dataloader_num_workers of 1 or more",
}
_SCHEDULES_WITHOUT_OPTIONS = ("constant", "constant_with_warmup")  # get_scheduler ignores lr_scheduler_kwargs


def check_arguments(spec: StudySpec) -> None:
    """Raise SpecError for a name or value in [training] or the search space that no run could follow.

    Trainer.hyperparameter_search would only log unknown names (pitfall 4), cast values (0.1 to int is 0,
    pitfalls 2 and 3) or ignore them (fields that are read before the trial's values are set, pitfall 5).
    """
    fields = argument_types()
    check_speed(spec)
    for name, value in spec.fixed.items():
        if name.startswith(MODEL_PREFIX):
            continue  # checked with the checkpoint, see load_checkpoint
        names = fields.keys() | ALIASES.keys() | {"speed"}
        problem = (
            unknown_name(name, names)
            if name not in names
            else RESERVED_FIELDS.get(name) or _value_problem(fields, name, value) or _schedule_problem(name, value)
        )
        if problem:
            raise spec.error(f"training.{name}", problem)
    if {"max_steps", "num_train_epochs"} <= spec.fixed.keys() and spec.fixed["max_steps"] > 0:
        message = "has no effect: training.max_steps alone decides the length of training; remove one of the two"
        raise spec.error("training.num_train_epochs", message)
    for name, other in ALIASES.items():
        if {name, other} <= spec.fixed.keys():
            raise spec.error(f"training.{name}", f"and training.{other} set the same thing; keep one of them")
    check_trackers(spec)
    _check_precision(spec)
    _check_fixed_warmup(spec)
    for name, axis in spec.space.parameters.items():
        if name.startswith(MODEL_PREFIX):
            _check_not_fixed(spec, name)
        else:
            _check_axis(spec, fields, name, axis)
    _try_arguments(spec)


def _check_axis(spec: StudySpec, fields: Mapping[str, Any], name: str, axis: Parameter) -> None:
    """Raise SpecError for an axis that is not searchable, has no effect in this study, or holds a wrong value."""
    key = f"space.parameters.{name}"
    if name in ("seed", "data_seed"):
        raise spec.error(key, "cannot be searched: a seed is noise, not a hyperparameter")
    if name not in fields and name not in ALIASES:
        problem = unknown_name(name, SEARCHABLE, limit=len(SEARCHABLE))
        raise spec.error(key, f"{problem}; a field of the model's config: {MODEL_PREFIX}<field>")
    if name not in SEARCHABLE:
        raise spec.error(key, RESERVED_FIELDS.get(name) or "cannot be searched: no trained model would differ by it")
    _check_not_fixed(spec, name)
    if ALIASES.get(name) in spec.space.parameters:
        raise spec.error(key, f"and {ALIASES[name]} set the same thing; remove one of the two")
    if name == "num_train_epochs" and "max_steps" in spec.training.keys() | spec.space.parameters.keys():
        raise spec.error(key, "has no effect: max_steps alone decides the length of training; remove one of the two")
    schedules = _schedule_names(spec)
    if name in {"warmup_ratio", "warmup_steps"} and "constant" in schedules:
        raise spec.error(key, "has no effect with lr_scheduler_type constant; use constant_with_warmup")
    for schedule in _SCHEDULES_WITHOUT_OPTIONS:
        if name == "lr_scheduler_kwargs" and schedule in schedules:
            raise spec.error(key, f"has no effect with lr_scheduler_type {schedule}, which has no options")
    for value in axis.ends:
        if reason := _value_problem(fields, name, value):
            raise spec.error(key, f"holds {value!r}, which {reason}")
        if reason := _schedule_problem(name, value):
            raise spec.error(key, reason)


def _check_precision(spec: StudySpec) -> None:
    """Raise SpecError for fp16 on a CPU: accelerate ignores it there, and the run would train in float32."""
    import torch

    axis = spec.space.parameters.get("fp16")
    if torch.accelerator.is_available() and not spec.fixed.get("use_cpu"):
        return
    if spec.fixed.get("fp16") or (axis and True in axis.ends):
        key = "space.parameters.fp16" if axis else "training.fp16"
        raise spec.error(key, "has no effect on a CPU, which would train in float32; remove it, or use bf16")


def _check_fixed_warmup(spec: StudySpec) -> None:
    """Raise SpecError for a fixed warmup with the schedule that has none."""
    for name in ("warmup_ratio", "warmup_steps"):
        if spec.fixed.get(name) and set(_schedule_names(spec)) == {"constant"}:
            raise spec.error(
                f"training.{name}", "has no effect with lr_scheduler_type constant; use constant_with_warmup"
            )


def _check_not_fixed(spec: StudySpec, name: str) -> None:
    for fixed in spec.fixed:
        if ALIASES.get(fixed, fixed) == ALIASES.get(name, name):
            raise spec.error(
                f"space.parameters.{name}", f"is fixed in [training] as {fixed} too; remove one of the two"
            )


def _schedule_names(spec: StudySpec) -> list[Any]:
    axis = spec.space.parameters.get("lr_scheduler_type")
    return axis.choices or [] if axis else [spec.training.get("lr_scheduler_type")]


def _value_problem(fields: Mapping[str, Any], name: str, value: Any) -> str | None:
    """Return why a value is not of a field's type, or None if it is; nothing is cast."""
    if name == "warmup_ratio":
        is_share = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
        return None if is_share else f"is {value!r}; must be a share of the steps, from 0 to below 1"
    accepted = _classes_of(fields[name])
    if isinstance(value, bool):
        fits = bool in accepted
    elif isinstance(value, int):
        fits = bool({int, float} & accepted)
    elif isinstance(value, str):
        enums = [kind for kind in accepted if issubclass(kind, enum.Enum)]
        members = [member.value for kind in enums for member in kind]
        if enums and value not in members:
            return unknown_value(value, members)
        fits = bool(enums) or str in accepted
    else:
        fits = type(value) in accepted
    minimum = SEARCHABLE[name].minimum if name in SEARCHABLE else _FIXED_MINIMUM.get(name)
    if fits and isinstance(value, int | float) and minimum is not None and value < minimum:
        return f"is {value!r}; must be at least {minimum}"
    expected = " or ".join(sorted(kind.__name__ for kind in accepted if kind is not type(None)))
    return None if fits else f"is {value!r}; must be {expected}"


def _schedule_problem(name: str, value: Any) -> str | None:
    """Return why a schedule of the learning rate cannot be used in a search, or None if it can."""
    if name != "lr_scheduler_type" or value not in _UNSUPPORTED_SCHEDULES:
        return None
    return f"is {value!r}, which {_UNSUPPORTED_SCHEDULES[value]}"


def _classes_of(annotation: Any) -> set[type]:
    """Return the classes in an annotation: `float | None` -> {float, NoneType}."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return {kind for member in typing.get_args(annotation) for kind in _classes_of(member)}
    plain = typing.get_origin(annotation) or annotation
    return {plain} if isinstance(plain, type) else set()


def _try_arguments(spec: StudySpec) -> None:
    """Let the libraries check the fixed fields, and both ends of every axis, before the first trial."""
    import torch
    from transformers import Trainer, get_scheduler

    unused = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)

    def attempt(key: str, values: dict[str, Any]) -> None:
        try:
            args = build_arguments(spec, values)
            get_scheduler(args.lr_scheduler_type, unused, 1, 10, scheduler_specific_kwargs=args.lr_scheduler_kwargs)
            if "model" not in args.optim and "galore" not in args.optim and "apollo" not in args.optim:
                Trainer.get_optimizer_cls_and_kwargs(args)  # the others need a model to be built
        except (ValueError, TypeError, ImportError, NotImplementedError) as error:
            raise spec.error(key, f"is refused by the library: {_describe_refusal(error)}") from None

    axes = spec.space.parameters
    defaults: dict[str, Any] = {}
    if "lr_scheduler_kwargs" in axes:
        # Which options a schedule takes, or needs, depends on its name, so both axes are tried together.
        names = [name for name in ("lr_scheduler_type", "lr_scheduler_kwargs") if name in axes]
        combinations = [
            dict(zip(names, values, strict=True)) for values in product(*(axes[name].ends for name in names))
        ]
        for combination in combinations:
            attempt("space.parameters.lr_scheduler_kwargs", combination)
        defaults = combinations[0]
    attempt("training", defaults)
    for name in (name for name in axes if name not in defaults):
        for value in axes[name].ends:
            attempt(f"space.parameters.{name}", {**defaults, name: value})


def _describe_refusal(error: Exception) -> str:
    """Return what a library refuses, with names as in a study file instead of command-line options."""
    text = first_line(error)
    for phrase, message in _REFUSALS.items():
        if phrase in text:
            return message
    return re.sub(r"--(\w+)", r"training.\1", text)
