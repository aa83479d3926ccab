"""Every sampled value read back from the live optimizer, scheduler and loss.

What was asked for is not always what runs: the plain search drops or casts values without an error. So nothing here
trusts TrainingArguments; each reader looks at the object that does the work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from hpo.training.arguments import MODEL_PREFIX, select_model_fields

Trainer = Any  # a RungTrainer in the middle of a run; transformers is untyped

_SAMPLERS = {
    "SequentialSampler": "sequential",
    "LengthGroupedSampler": "group_by_length",
    "RandomSampler": "random",
    "SeedableRandomSampler": "random",
    "BatchRebalanceSampler": "batch_rebalance",
}


def _group(name: str, index: int | None = None) -> Callable[[Trainer], Any]:
    def read(trainer: Trainer) -> Any:
        value = trainer.optimizer.param_groups[0].get(name)
        return value if index is None or value is None else value[index]

    return read


def _multiplier(trainer: Trainer) -> Callable[[int], float] | None:
    """The live schedule: step -> share of the learning rate."""
    lambdas = getattr(trainer.lr_scheduler, "lr_lambdas", None)
    return lambdas[0] if lambdas else None


def _warmup_steps(trainer: Trainer) -> int | None:
    """Steps over which the live schedule rises."""
    multiplier = _multiplier(trainer)
    if multiplier is None:
        return None
    step = 0
    while step < trainer.state.max_steps and multiplier(step + 1) > multiplier(step):
        step += 1
    return step


def _schedule(trainer: Trainer) -> str | None:
    """The name of the schedule that the live one follows at its start, middle and end, where it does."""
    from transformers import get_scheduler

    multiplier = _multiplier(trainer)
    if multiplier is None:
        return type(trainer.lr_scheduler).__name__
    total, warmup = trainer.state.max_steps, trainer.args.get_warmup_steps(trainer.state.max_steps)
    name = str(getattr(trainer.args.lr_scheduler_type, "value", trainer.args.lr_scheduler_type))
    extra = trainer.args.lr_scheduler_kwargs
    rate = trainer.optimizer.param_groups[0]["initial_lr"]
    expected = get_scheduler(name, _still(rate), warmup, total, scheduler_specific_kwargs=extra).lr_lambdas[0]
    probes = {0, 1, warmup, (warmup + total) // 2, total - 1}
    return name if all(math.isclose(multiplier(at), expected(at)) for at in probes) else "another"


def _still(rate: float) -> Any:
    """An optimizer of nothing, on which a schedule can be built for comparison."""
    import torch

    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def _optimizer(trainer: Trainer) -> str:
    """The name of the live optimizer as TrainingArguments would have it, or its class where they differ."""
    wanted, options = trainer.get_optimizer_cls_and_kwargs(trainer.args, trainer.model)
    live = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    same = type(live) is wanted and bool(live.defaults.get("fused")) == bool(options.get("fused"))
    return str(getattr(trainer.args.optim, "value", trainer.args.optim)) if same else type(live).__name__


def _epochs(trainer: Trainer) -> float:
    """Epochs that the live loader and the live number of steps make."""
    return float(trainer.state.max_steps / trainer.updates_per_epoch)


def _neftune(trainer: Trainer) -> float | None:
    embeddings = trainer.model.get_input_embeddings()
    return getattr(embeddings, "neftune_noise_alpha", None) if embeddings._forward_hooks else None


def _precision(trainer: Trainer) -> str:
    """What the model's forward pass is wrapped for; the accelerator's setting alone proves nothing."""
    return str(trainer.accelerator.mixed_precision) if "_original_forward" in trainer.model.__dict__ else "no"


def _sampling(trainer: Trainer) -> str:
    sampler = trainer.callback_handler.train_dataloader.batch_sampler.sampler
    return _SAMPLERS.get(type(sampler).__name__, type(sampler).__name__)


LIVE_READERS: dict[str, Callable[[Trainer], Any]] = {
    "learning_rate": _group("initial_lr"),
    "weight_decay": _group("weight_decay"),
    "warmup_steps": _warmup_steps,
    "max_steps": lambda trainer: trainer.state.max_steps,
    "num_train_epochs": _epochs,
    "per_device_train_batch_size": lambda trainer: trainer.record.device_batch * trainer.record.split,
    "gradient_accumulation_steps": lambda trainer: trainer.accumulated // trainer.record.split,
    "lr_scheduler_type": _schedule,
    "optim": _optimizer,
    "adam_beta1": _group("betas", 0),
    "adam_beta2": _group("betas", 1),
    "adam_epsilon": _group("eps"),
    "max_grad_norm": lambda trainer: trainer.args.max_grad_norm,
    "label_smoothing_factor": lambda trainer: trainer.compute_loss_func.label_smoothing,
    "neftune_noise_alpha": _neftune,
    "bf16": lambda trainer: _precision(trainer) == "bf16",
    "fp16": lambda trainer: _precision(trainer) == "fp16",
    "dataloader_drop_last": lambda trainer: trainer.callback_handler.train_dataloader.batch_sampler.drop_last,
    "train_sampling_strategy": _sampling,
}
ALWAYS_READ = (
    "learning_rate",
    "weight_decay",
    "warmup_steps",
    "max_steps",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "lr_scheduler_type",
    "optim",
)


def read_effective_values(trainer: Trainer, values: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> what the live run uses: the usual settings, and every sampled one."""
    names = dict.fromkeys([*ALWAYS_READ, *(name for name in values if name in LIVE_READERS)])
    live = {name: LIVE_READERS[name](trainer) for name in names}
    return live | {
        f"{MODEL_PREFIX}{field}": _model_field(trainer, field, value)
        for field, value in select_model_fields(values).items()
    }


def find_mismatch(trainer: Trainer, values: Mapping[str, Any], live: Mapping[str, Any]) -> str | None:
    """What differs between the sampled values and the live ones, or None."""
    total = trainer.state.max_steps
    for name, sampled in values.items():
        wanted, found = sampled, live.get("warmup_steps" if name == "warmup_ratio" else name)
        if name == "warmup_ratio" or (name == "warmup_steps" and sampled < 1):
            wanted = math.ceil(total * sampled)
        elif name == "warmup_steps":
            wanted = int(sampled)
        elif name == "num_train_epochs":
            wanted = math.ceil(sampled * trainer.updates_per_epoch) / trainer.updates_per_epoch
        if "warmup" in name and wanted >= total - 1:
            found = wanted if (found or 0) >= total - 1 else found  # a warmup beyond the end is cut off by it
        if found != wanted:
            meant = "" if wanted == sampled else f" ({wanted})"
            return f"{name} was sampled as {sampled!r}{meant}, the live run has {found!r}"
    return None


def _model_field(trainer: Trainer, field: str, sampled: Any) -> Any:
    """A config field in the live model; a dropout must also stand in one of its modules."""
    import torch

    live = getattr(trainer.model.config, field)
    if "drop" in field and not any(
        module.p == sampled for module in trainer.model.modules() if isinstance(module, torch.nn.Dropout)
    ):
        return None
    return live
