"""Verify a run: read every sampled and fixed value back from the live optimizer, scheduler, loader and model.

The values are not always what a run trains with: Trainer.hyperparameter_search drops or casts values without an
error. Nothing here trusts TrainingArguments or a config; see `searchable` and `model_fields` for what is read instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.training.arguments import select_model_fields
from hpo.training.model_fields import MODEL_PREFIX
from hpo.training.searchable import SEARCHABLE, Trainer


def read_effective_values(trainer: Trainer, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return name -> value that the live run uses, for the fields that are always read and for every sampled one."""
    names = [name for name, row in SEARCHABLE.items() if row.always_read]
    names += [name for name in values if name in SEARCHABLE and SEARCHABLE[name].alias_of is None]
    live = {name: SEARCHABLE[name].read(trainer) for name in dict.fromkeys(names)}
    for field, sampled in select_model_fields(values).items():
        effect = trainer.context.checkpoint.field_effect(field, sampled)
        live[f"{MODEL_PREFIX}{field}"] = effect.read(trainer.model, field, sampled)
    return live


def find_mismatch(trainer: Trainer, values: Mapping[str, Any], live: Mapping[str, Any]) -> str | None:
    """Describe the first sampled or fixed value that the live run does not have, or return None."""
    if mismatch := _compare(trainer, values, live, "was sampled"):
        return mismatch
    fixed = select_verifiable(trainer, values)
    return _compare(trainer, fixed, read_effective_values(trainer, fixed), "is fixed in [training]")


def select_verifiable(trainer: Trainer, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of [training] that this run must have; `values` are those that were sampled instead.

    A fixed value may be more than the data allow, which a sampled one may not: batches are not larger than the split,
    and no more of them are accumulated than there are. Fields without effect are left out (see `load_checkpoint`).
    """
    checkpoint, rows = trainer.context.checkpoint, len(trainer.context.train)
    sampled = {SEARCHABLE[name].alias_of or name if name in SEARCHABLE else name for name in values}
    fixed = {}
    for name, value in trainer.context.spec.fixed.items():
        if name in SEARCHABLE and (SEARCHABLE[name].alias_of or name) not in sampled:
            fixed[name] = value
    for field, value in select_model_fields(trainer.context.spec.fixed).items():
        if checkpoint.field_effect(field, value).is_used and f"{MODEL_PREFIX}{field}" not in sampled:
            fixed[f"{MODEL_PREFIX}{field}"] = value
    if trainer.args.max_steps > 0:
        fixed.pop("num_train_epochs", None)  # max_steps alone decides the length of training
    else:
        fixed.pop("max_steps", None)
    if fixed.get("per_device_train_batch_size", 0) > rows:
        del fixed["per_device_train_batch_size"]
    if fixed.get("gradient_accumulation_steps", 0) > len(trainer.callback_handler.train_dataloader):
        del fixed["gradient_accumulation_steps"]
    return fixed


def _compare(trainer: Trainer, values: Mapping[str, Any], live: Mapping[str, Any], origin: str) -> str | None:
    for name, sampled in values.items():
        row = SEARCHABLE.get(name)
        actual = live.get(row.alias_of or name if row else name)
        expected = row.expected(trainer, sampled, actual) if row else sampled
        if actual != expected:
            converted = "" if expected == sampled else f" ({expected})"
            return f"{name} {origin} as {sampled!r}{converted}, the live run has {actual!r}"
    return None
