"""SEARCHABLE: the fields of TrainingArguments that a search can change, one row per field.

A field is searchable if it changes the trained model and its value can be read back from the object that does the work
(optimizer, scheduler, loader, model). TrainingArguments itself is no evidence: Trainer.hyperparameter_search drops or
casts values without an error. To make another field searchable, add a row to the table at the end of this file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Trainer = Any  # a RungTrainer during a run; transformers is untyped
Affects = Literal["forward", "optimizer", "loader", "length"]

# Samplers of the training loader by class -> the strategy that TrainingArguments calls them.
_SAMPLING_STRATEGIES = {
    "SequentialSampler": "sequential",
    "LengthGroupedSampler": "group_by_length",
    "RandomSampler": "random",
    "SeedableRandomSampler": "random",
    "BatchRebalanceSampler": "batch_rebalance",
}


def _as_sampled(trainer: Trainer, sampled: Any, live: Any) -> Any:
    return sampled


@dataclass(frozen=True)
class SearchableField:
    """One searchable field of TrainingArguments.

    Attributes:
        affects: the forward/backward pass, the optimizer, the loader, or the length of training. Only a change of the
            first makes recorded CUDA graphs invalid.
        read: returns the value that the live run uses.
        minimum: the lowest accepted value, if TrainingArguments accepts less and fails in the middle of a trial.
        always_read: whether the value is stored with every run, searched or not.
        changes_step_time: whether steps of another value take another time, apart from the size of the batch.
        alias_of: the field that this name sets in another unit; the live value is stored under that field.
        expected: returns the live value that a sampled value must lead to, given the live value.
    """

    affects: Affects
    read: Callable[[Trainer], Any]
    minimum: float | None = None
    always_read: bool = False
    changes_step_time: bool = False
    alias_of: str | None = None
    expected: Callable[[Trainer, Any, Any], Any] = _as_sampled


def _param_group(name: str, index: int | None = None) -> Callable[[Trainer], Any]:
    """Return a reader of an option of the live optimizer, or of one element of it."""

    def read(trainer: Trainer) -> Any:
        value = trainer.optimizer.param_groups[0].get(name)
        return value if index is None or value is None else value[index]

    return read


def _multiplier(trainer: Trainer) -> Callable[[int], float] | None:
    """Return the live schedule as a function from step to share of the learning rate, if it is one."""
    lambdas = getattr(trainer.lr_scheduler, "lr_lambdas", None)
    return lambdas[0] if lambdas else None


def _read_warmup_steps(trainer: Trainer) -> int | None:
    """Count the steps over which the live schedule rises."""
    multiplier = _multiplier(trainer)
    if multiplier is None:
        return None
    step = 0
    while step < trainer.state.max_steps and multiplier(step + 1) > multiplier(step):
        step += 1
    return step


def _expected_warmup_steps(total: int, steps: int, live: int | None) -> int | None:
    # A warmup that is longer than training is cut off by its end, so the live schedule rises to its last step.
    return live if steps >= total - 1 and (live or 0) >= total - 1 else steps


def _expected_from_ratio(trainer: Trainer, sampled: float, live: Any) -> Any:
    total = trainer.state.max_steps
    return _expected_warmup_steps(total, math.ceil(total * sampled), live)


def _expected_from_steps(trainer: Trainer, sampled: float, live: Any) -> Any:
    """Return the expected warmup; TrainingArguments takes a value below 1 as a share of all steps."""
    if sampled < 1:
        return _expected_from_ratio(trainer, sampled, live)
    return _expected_warmup_steps(trainer.state.max_steps, int(sampled), live)


def _follows_arguments(trainer: Trainer, multiplier: Callable[[int], float]) -> bool:
    """Compare the live schedule, at its start, middle and end, with a new one made from the arguments."""
    import torch
    from transformers import get_scheduler

    total, warmup = trainer.state.max_steps, trainer.args.get_warmup_steps(trainer.state.max_steps)
    rate = trainer.optimizer.param_groups[0]["initial_lr"]
    unused = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    name, options = trainer.args.lr_scheduler_type, trainer.args.lr_scheduler_kwargs
    expected = get_scheduler(name, unused, warmup, total, scheduler_specific_kwargs=options).lr_lambdas[0]
    steps = {0, 1, warmup, (warmup + total) // 2, total - 1}
    return all(math.isclose(multiplier(step), expected(step)) for step in steps)


def _read_schedule(trainer: Trainer) -> str | None:
    """Return the name of the schedule in the arguments if the live one follows it, else "another"."""
    multiplier = _multiplier(trainer)
    if multiplier is None:
        return type(trainer.lr_scheduler).__name__
    name = str(getattr(trainer.args.lr_scheduler_type, "value", trainer.args.lr_scheduler_type))
    return name if _follows_arguments(trainer, multiplier) else "another"


def _read_schedule_options(trainer: Trainer) -> str | None:
    """Return the options of the schedule as JSON, or None if the live schedule does not follow them."""
    multiplier = _multiplier(trainer)
    if multiplier is None or not _follows_arguments(trainer, multiplier):
        return None
    return json.dumps(trainer.args.lr_scheduler_kwargs or {}, sort_keys=True)


def _expected_schedule_options(trainer: Trainer, sampled: Any, live: Any) -> str:
    # As text in the search space; [training] may also hold a table.
    return json.dumps(json.loads(sampled) if isinstance(sampled, str) else sampled, sort_keys=True)


def _read_optimizer(trainer: Trainer) -> str:
    """Return the name of the live optimizer in TrainingArguments' terms, or its class if it is another one."""
    expected, options = trainer.get_optimizer_cls_and_kwargs(trainer.args, trainer.model)
    live = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    is_expected = type(live) is expected and bool(live.defaults.get("fused")) == bool(options.get("fused"))
    return str(getattr(trainer.args.optim, "value", trainer.args.optim)) if is_expected else type(live).__name__


def _read_epochs(trainer: Trainer) -> float:
    """Return the epochs that the live loader and the live number of steps amount to."""
    return float(trainer.state.max_steps / trainer.updates_per_epoch)


def _expected_epochs(trainer: Trainer, sampled: float, live: Any) -> float:
    # Trainer rounds the number of optimizer steps up, so the last epoch can be longer than sampled.
    steps_per_epoch = int(trainer.updates_per_epoch)
    return math.ceil(sampled * steps_per_epoch) / steps_per_epoch


def _read_neftune(trainer: Trainer) -> float | None:
    from hpo.training.library_internals import has_forward_hooks

    embeddings = trainer.model.get_input_embeddings()
    return getattr(embeddings, "neftune_noise_alpha", None) if has_forward_hooks(embeddings) else None


def _read_precision(trainer: Trainer) -> str:
    """Return the precision that the model's forward pass is wrapped for.

    The accelerator's setting alone shows nothing: it leaves a model alone that it has already prepared.
    """
    from hpo.training.library_internals import is_wrapped_for_autocast

    return str(trainer.accelerator.mixed_precision) if is_wrapped_for_autocast(trainer.model) else "no"


def _read_sampling(trainer: Trainer) -> str:
    sampler = type(trainer.callback_handler.train_dataloader.batch_sampler.sampler).__name__
    return _SAMPLING_STRATEGIES.get(sampler, sampler)


SEARCHABLE: dict[str, SearchableField] = {
    "learning_rate": SearchableField("optimizer", _param_group("initial_lr"), minimum=0, always_read=True),
    "weight_decay": SearchableField("optimizer", _param_group("weight_decay"), minimum=0, always_read=True),
    # `warmup_ratio` is no field of TrainingArguments in transformers 5; a `warmup_steps` below 1 means the same.
    "warmup_ratio": SearchableField(
        "optimizer", _read_warmup_steps, alias_of="warmup_steps", expected=_expected_from_ratio
    ),
    "warmup_steps": SearchableField("optimizer", _read_warmup_steps, always_read=True, expected=_expected_from_steps),
    "max_steps": SearchableField("length", lambda trainer: trainer.state.max_steps, always_read=True),
    "num_train_epochs": SearchableField(
        "length", _read_epochs, minimum=1e-6, always_read=True, expected=_expected_epochs
    ),
    "per_device_train_batch_size": SearchableField(
        "loader",
        lambda trainer: trainer.measurements.device_batch * trainer.measurements.batch_split,
        minimum=1,
        always_read=True,
    ),
    "gradient_accumulation_steps": SearchableField(
        "loader",
        lambda trainer: trainer.batches_per_step // trainer.measurements.batch_split,
        minimum=1,
        always_read=True,
    ),
    "lr_scheduler_type": SearchableField("optimizer", _read_schedule, always_read=True),
    # A JSON object as text, for example '{"min_lr_rate": 0.1}': an axis of the search space holds scalars only.
    "lr_scheduler_kwargs": SearchableField("optimizer", _read_schedule_options, expected=_expected_schedule_options),
    "optim": SearchableField("optimizer", _read_optimizer, always_read=True, changes_step_time=True),
    "adam_beta1": SearchableField("optimizer", _param_group("betas", 0)),
    "adam_beta2": SearchableField("optimizer", _param_group("betas", 1)),
    "adam_epsilon": SearchableField("optimizer", _param_group("eps"), minimum=0),
    "max_grad_norm": SearchableField("optimizer", lambda trainer: trainer.args.max_grad_norm, minimum=0),
    "label_smoothing_factor": SearchableField(
        "forward", lambda trainer: trainer.compute_loss_func.label_smoothing, minimum=0
    ),
    "neftune_noise_alpha": SearchableField("forward", _read_neftune, minimum=0),
    "bf16": SearchableField("forward", lambda trainer: _read_precision(trainer) == "bf16", changes_step_time=True),
    "fp16": SearchableField("forward", lambda trainer: _read_precision(trainer) == "fp16", changes_step_time=True),
    "dataloader_drop_last": SearchableField(
        "loader", lambda trainer: trainer.callback_handler.train_dataloader.batch_sampler.drop_last
    ),
    "train_sampling_strategy": SearchableField("loader", _read_sampling),
}


def changes_forward_pass(name: str) -> bool:
    """Return whether another value of this name changes the forward or backward pass; unknown names may."""
    return name not in SEARCHABLE or SEARCHABLE[name].affects == "forward"


def changes_step_time(name: str) -> bool:
    """Return whether another value of this name changes the seconds of a step, apart from the size of the batch."""
    return name not in SEARCHABLE or SEARCHABLE[name].changes_step_time
