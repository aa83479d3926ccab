"""Fixed and sampled values -> fresh TrainingArguments; what can be fixed, and what can be searched."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any

from hpo.errors import unknown_name, unknown_value
from hpo.study.search_space import Parameter
from hpo.study.spec import StudySpec
from hpo.training.acceleration.presets import check_speed
from hpo.training.trackers import check_trackers, tracker_names

# Fields that the search sets itself, with the reason that a study file which sets them is told.
RESERVED_FIELDS = dict.fromkeys(
    ("eval_strategy", "eval_steps", "eval_delay", "eval_on_start"),
    "is set by the search: trials are evaluated at rungs",
)
RESERVED_FIELDS |= dict.fromkeys(
    ("seed", "data_seed"), "is set by the search: it follows from search.seed and the trial's place"
)
RESERVED_FIELDS |= dict.fromkeys(
    ("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
    "is set by the search: objective and search.value say what is best",
)
RESERVED_FIELDS |= dict.fromkeys(
    ("push_to_hub", "hub_token", "hub_model_id", "hub_strategy", "hub_private_repo", "hub_revision"),
    "does not belong in a study file: a search never uploads",
)
RESERVED_FIELDS |= dict.fromkeys(
    ("fsdp", "deepspeed", "parallelism_config"), "is not supported: a trial runs on one device"
)
RESERVED_FIELDS |= {
    "output_dir": "is set by the search: what a study makes lands in its own folder",
    "auto_find_batch_size": "is not needed: a trial out of memory restarts with half the device batch, recorded",
    "resume_from_checkpoint": "is not for a search: trials start from the model's checkpoint",
    "logging_nan_inf_filter": "is set by the search: a loss that is not finite ends the trial",
    "remove_unused_columns": "is set by the search",
    "label_names": "is set by the search",
    "prediction_loss_only": "is set by the search: without predictions there is no score",
    "batch_eval_metrics": "is set by the search: metrics are computed over all rows",
    "torch_compile": "is not supported yet: each trial would compile anew",
    "disable_tqdm": "is set by the search: it shows its own progress",
    "run_name": "is set by the search: each trial is a run of its own name",
}
# Two names for one thing: a value for the one is a value for the other.
ALIASES = {"warmup_ratio": "warmup_steps"}
MODEL_PREFIX = "model."  # stands before the name of a field of the model's own config
# What a search can change and proof.py can read back from the live run.
SEARCHABLE = frozenset(
    (
        "learning_rate",
        "weight_decay",
        "warmup_ratio",
        "warmup_steps",
        "num_train_epochs",
        "max_steps",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "lr_scheduler_type",
        "optim",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "max_grad_norm",
        "label_smoothing_factor",
        "neftune_noise_alpha",
        "bf16",
        "fp16",
        "dataloader_drop_last",
        "train_sampling_strategy",
    )
)
# Lower bounds of what TrainingArguments itself would accept, and then fail on in the middle of a trial.
LOWER_BOUNDS = {
    "learning_rate": 0,
    "weight_decay": 0,
    "num_train_epochs": 1e-6,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "per_device_eval_batch_size": 1,
    "max_grad_norm": 0,
    "adam_epsilon": 0,
    "label_smoothing_factor": 0,
    "neftune_noise_alpha": 0,
}
_NO_KEYWORDS = {"reduce_lr_on_plateau": "waits for a metric, so its steps are not known in advance"}
MIN_EVAL_BATCH = 64
# Without gradients; a GPU waits for Python where a batch has fewer tokens.
MAX_EVAL_BATCH, EVAL_TOKENS = 256, 2**16
TRACKER_LOGGING = {
    "logging_strategy": "steps",
    "logging_steps": 0.02,
    "logging_first_step": True,
}  # where somebody follows


def check_arguments(spec: StudySpec) -> None:
    """Raise SpecError for a name or value in [training] or the space that no run could follow.

    The plain search would warn (unknown names, trap 4), cast (0.1 to int is 0, traps 2 and 3) or ignore (fields
    that are read before the trial's values are set, trap 5).
    """
    fields = _fields()
    check_speed(spec)
    for name, value in spec.fixed.items():
        if name.startswith(MODEL_PREFIX):
            continue  # the checkpoint judges them
        known = fields.keys() | ALIASES.keys() | {"speed"}
        reason = (
            unknown_name(name, known)
            if name not in known
            else RESERVED_FIELDS.get(name) or _misfit(fields, name, value)
        )
        if reason:
            raise spec.error(f"training.{name}", reason)
    for name, other in ALIASES.items():
        if {name, other} <= spec.fixed.keys():
            raise spec.error(f"training.{name}", f"says the same as training.{other}; keep one of them")
    check_trackers(spec)
    for name, axis in spec.space.parameters.items():
        if name.startswith(MODEL_PREFIX):
            _check_fixed(spec, name)
        else:
            _check_axis(spec, fields, name, axis)
    _build_corners(spec)


def build_arguments(spec: StudySpec, values: Mapping[str, Any], seed: int = 0, split: int = 1, output: str = "") -> Any:
    """Fresh TrainingArguments of one run: fixed and sampled values, seed, and the device batch divided by `split`.

    Splitting keeps the effective batch: the device batch shrinks, gradient accumulation grows (trap 20).
    """
    import torch
    from transformers import TrainingArguments

    chosen: dict[str, Any] = {
        "per_device_eval_batch_size": eval_batch_size(spec.model.max_length),
        "dataloader_pin_memory": torch.cuda.is_available(),
        # A batch goes to a GPU while the last one trains.
        "accelerator_config": {"non_blocking": torch.cuda.is_available()},
        "use_cpu": not torch.accelerator.is_available(),  # said outright, Trainer allows bf16 there
    }
    chosen |= {"save_strategy": "no"} | (TRACKER_LOGGING if tracker_names(spec) else {"logging_strategy": "no"})
    chosen |= select_arguments({**spec.fixed, **values})
    chosen["report_to"] = "none"  # Trainer would close none of them where a trial is pruned; see trackers
    if split > 1:
        chosen["per_device_train_batch_size"] = chosen.get("per_device_train_batch_size", 8) // split
        chosen["gradient_accumulation_steps"] = chosen.get("gradient_accumulation_steps", 1) * split
    return TrainingArguments(
        output_dir=output or str(spec.folder),
        seed=seed,
        eval_strategy="no",
        logging_nan_inf_filter=False,  # it would hide a loss that is not finite
        remove_unused_columns=False,
        disable_tqdm=True,
        label_names=["labels"],
        **chosen,
    )


def eval_batch_size(max_length: int) -> int:
    """Texts in a batch of validation, where a study says nothing else."""
    import torch

    if not torch.cuda.is_available():
        return MIN_EVAL_BATCH
    return min(MAX_EVAL_BATCH, max(MIN_EVAL_BATCH, EVAL_TOKENS // max_length))


def select_arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a run's values that are fields of TrainingArguments, by its own names.

    `warmup_ratio` is none in transformers 5 (trap 1): it becomes a `warmup_steps` below 1, a share of all steps.
    """
    own = {name: value for name, value in values.items() if not name.startswith(MODEL_PREFIX)}
    return {ALIASES.get(name, name): float(value) if name in ALIASES else value for name, value in own.items()}


def select_model_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a run's values that are fields of the model's own config, by its names."""
    return {name.removeprefix(MODEL_PREFIX): value for name, value in values.items() if name.startswith(MODEL_PREFIX)}


def next_batch_split(batch: int, split: int) -> int | None:
    """The next number of parts that a batch can be cut into evenly, at least twice `split`; None below batch 1."""
    return next((parts for parts in range(split * 2, batch + 1) if batch % parts == 0), None)


def output_folder(spec: StudySpec, name: str) -> str:
    """Where a run's checkpoints go if [training] asks for any; Trainer makes this folder whether or not it does."""
    return str(spec.folder / "checkpoints" / name) if "save_strategy" in spec.training else str(spec.folder)


def _fields() -> dict[str, Any]:
    from transformers import TrainingArguments

    return {field.name: field.type for field in dataclasses.fields(TrainingArguments) if field.init}


def _check_axis(spec: StudySpec, fields: Mapping[str, Any], name: str, axis: Parameter) -> None:
    key = f"space.parameters.{name}"
    if name in ("seed", "data_seed"):
        raise spec.error(key, "cannot be searched: a seed is noise, not a setting")
    if name not in fields and name not in ALIASES:
        raise spec.error(key, unknown_name(name, SEARCHABLE, limit=len(SEARCHABLE)) + "; a model's own: model.<field>")
    if name not in SEARCHABLE:
        raise spec.error(key, RESERVED_FIELDS.get(name) or "cannot be searched: no trained model would differ by it")
    _check_fixed(spec, name)
    if ALIASES.get(name) in spec.space.parameters:
        raise spec.error(key, f"and {ALIASES[name]} are the same thing; remove one of the two")
    if name == "num_train_epochs" and ({"max_steps"} & (spec.training.keys() | spec.space.parameters.keys())):
        raise spec.error(key, "has no effect beside max_steps, which decides the length alone; remove one of the two")
    if name in {"warmup_ratio", "warmup_steps"} and "constant" in _schedules(spec):
        raise spec.error(key, "has no effect with lr_scheduler_type constant; constant_with_warmup takes it")
    for value in axis.ends:
        if reason := _misfit(fields, name, value) or _NO_KEYWORDS.get(str(value)):
            raise spec.error(key, f"holds {value!r}, which {reason}")


def _check_fixed(spec: StudySpec, name: str) -> None:
    for fixed in spec.fixed:
        if ALIASES.get(fixed, fixed) == ALIASES.get(name, name):
            raise spec.error(
                f"space.parameters.{name}", f"is fixed in [training] as {fixed} too; remove one of the two"
            )


def _schedules(spec: StudySpec) -> list[Any]:
    axis = spec.space.parameters.get("lr_scheduler_type")
    return axis.choices or [] if axis else [spec.training.get("lr_scheduler_type")]


def _misfit(fields: Mapping[str, Any], name: str, value: Any) -> str | None:
    """Why a value is not of a field's type, or None where it is; nothing is cast."""
    if name == "warmup_ratio":
        is_share = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
        return None if is_share else f"is {value!r}; must be a share of the steps, 0 up to but without 1"
    accepted = _types(fields[name])
    if isinstance(value, bool):
        fits = bool in accepted
    elif isinstance(value, int):
        fits = bool({int, float} & accepted)
    elif isinstance(value, str):
        kinds = [kind for kind in accepted if issubclass(kind, enum.Enum)]
        names = [member.value for kind in kinds for member in kind]
        if kinds and value not in names:
            return unknown_value(value, names)
        fits = bool(kinds) or str in accepted
    else:
        fits = type(value) in accepted
    if fits and isinstance(value, int | float) and value < LOWER_BOUNDS.get(name, value):
        return f"is {value!r}; must be at least {LOWER_BOUNDS[name]}"
    wanted = " or ".join(sorted(kind.__name__ for kind in accepted if kind is not type(None)))
    return None if fits else f"is {value!r}; must be {wanted}"


def _types(annotation: Any) -> set[type]:
    """The classes in an annotation: `float | None` -> {float, NoneType}."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return {kind for member in typing.get_args(annotation) for kind in _types(member)}
    plain = typing.get_origin(annotation) or annotation
    return {plain} if isinstance(plain, type) else set()


def _build_corners(spec: StudySpec) -> None:
    """Let TrainingArguments judge the fixed fields, and both ends of every axis, before the first trial."""
    import torch
    from transformers import Trainer, get_scheduler

    nothing = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)

    def attempt(key: str, values: dict[str, Any]) -> None:
        try:
            args = build_arguments(spec, values)
            get_scheduler(args.lr_scheduler_type, nothing, 1, 10, scheduler_specific_kwargs=args.lr_scheduler_kwargs)
            if "model" not in args.optim and "galore" not in args.optim and "apollo" not in args.optim:
                Trainer.get_optimizer_cls_and_kwargs(args)  # the others need a model to be built
        except (ValueError, TypeError, ImportError, NotImplementedError) as error:
            raise spec.error(key, f"is refused by the library: {str(error).splitlines()[0]}") from None

    attempt("training", {})
    for name, axis in spec.space.parameters.items():
        for value in axis.ends:
            attempt(f"space.parameters.{name}", {name: value})
