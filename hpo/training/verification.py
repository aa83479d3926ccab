"""Verify a run: read every sampled value back from the live optimizer, scheduler, loader and model, and compare.

The sampled values are not always what a run trains with: Trainer.hyperparameter_search drops or casts values without an
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
    """Describe the first sampled value that the live run does not have, or return None."""
    for name, sampled in values.items():
        row = SEARCHABLE.get(name)
        actual = live.get(row.alias_of or name if row else name)
        expected = row.expected(trainer, sampled, actual) if row else sampled
        if actual != expected:
            converted = "" if expected == sampled else f" ({expected})"
            return f"{name} was sampled as {sampled!r}{converted}, the live run has {actual!r}"
    return None
