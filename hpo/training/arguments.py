"""Turn a study's fixed and sampled values into TrainingArguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hpo.study.spec import StudySpec
from hpo.training.model_fields import MODEL_PREFIX
from hpo.training.searchable import SEARCHABLE
from hpo.training.trackers import tracker_names

# Names that set another field -> that field.
ALIASES = {name: row.alias_of for name, row in SEARCHABLE.items() if row.alias_of}
MIN_EVAL_BATCH = 64
# Evaluation keeps no gradients, so larger batches fit; with fewer tokens in a batch a GPU waits for Python.
MAX_EVAL_BATCH, EVAL_TOKENS = 256, 2**16
TRACKER_LOGGING = {"logging_strategy": "steps", "logging_steps": 0.02, "logging_first_step": True}


def build_arguments(spec: StudySpec, values: Mapping[str, Any], seed: int = 0, split: int = 1, output: str = "") -> Any:
    """Return new TrainingArguments of one run: fixed and sampled values, the seed, and a split device batch.

    Splitting keeps the effective batch: the device batch is divided by `split`, and gradient accumulation multiplied by
    it (pitfall 20).
    """
    import torch
    from transformers import TrainingArguments

    chosen: dict[str, Any] = {
        "per_device_eval_batch_size": eval_batch_size(spec.model.max_length),
        "dataloader_pin_memory": torch.cuda.is_available(),
        # The next batch is copied to the GPU while the current one trains.
        "accelerator_config": {"non_blocking": torch.cuda.is_available()},
        "use_cpu": not torch.accelerator.is_available(),  # Trainer allows bf16 on a CPU only if this is explicit
    }
    chosen |= {"save_strategy": "no"} | (TRACKER_LOGGING if tracker_names(spec) else {"logging_strategy": "no"})
    chosen |= select_arguments({**spec.fixed, **values})
    chosen["report_to"] = "none"  # Trainer would not close its trackers if a trial is pruned; see trackers
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
    """Return the texts in an evaluation batch if the study does not set them."""
    import torch

    if not torch.cuda.is_available():
        return MIN_EVAL_BATCH
    return min(MAX_EVAL_BATCH, max(MIN_EVAL_BATCH, EVAL_TOKENS // max_length))


def select_arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a run's values that are fields of TrainingArguments, by the names that they have there.

    `warmup_ratio` is no field in transformers 5 (pitfall 1): it becomes a `warmup_steps` below 1, a share of all steps.
    """
    arguments = {name: value for name, value in values.items() if not name.startswith(MODEL_PREFIX)}
    return {ALIASES.get(name, name): float(value) if name in ALIASES else value for name, value in arguments.items()}


def select_model_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a run's values that are fields of the model's config, by the names that they have there."""
    return {name.removeprefix(MODEL_PREFIX): value for name, value in values.items() if name.startswith(MODEL_PREFIX)}


def next_batch_split(batch: int, split: int) -> int | None:
    """Return the next number of even parts of a batch, at least twice `split`; None if a part would be below 1."""
    return next((parts for parts in range(split * 2, batch + 1) if batch % parts == 0), None)


def output_folder(spec: StudySpec, name: str) -> str:
    """Return the folder of a run's Trainer checkpoints, which Trainer creates even if [training] saves none."""
    return str(spec.folder / "checkpoints" / name) if "save_strategy" in spec.training else str(spec.folder)


def argument_types() -> dict[str, Any]:
    """Return the annotations of all fields of TrainingArguments by name."""
    from transformers import TrainingArguments

    return {field.name: field.type for field in dataclasses.fields(TrainingArguments) if field.init}
