"""Accelerations: the fields that `training.speed = "auto"` sets, on each device those that were measured to help.

Every acceleration is an ordinary field: a study that fixes or searches it decides by itself, and every run verifies
from its live parts that it trained with it. What gives the same model in less time is no acceleration in this sense and
is always on unless the study asks for "exact"; see `session`. benchmarks/RESULTS.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hpo.errors import unknown_value
from hpo.store.study_record import StudyRecord
from hpo.study.spec import StudySpec
from hpo.training.library_internals import attention_implementation, has_bf16_instructions

if TYPE_CHECKING:
    from optuna import Study

    from hpo.training.checkpoint import Checkpoint

SPEEDS = ("auto", "exact")
# A text shares its batch with texts of similar length, so that little of the batch is padding.
GROUP_BY_LENGTH = {"train_sampling_strategy": "group_by_length"}
# Narrower models spend more time on casting to bfloat16 than their matrix products take.
MIN_BF16_WIDTH = 256
# Names that configs have for the dropout of attention weights.
ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")


def check_speed(spec: StudySpec) -> None:
    """Raise SpecError for an unknown training.speed."""
    if spec.speed not in SPEEDS:
        raise spec.error("training.speed", unknown_value(spec.speed, SPEEDS))


def choose_accelerations(spec: StudySpec, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return field -> value of every acceleration for this device that the study leaves open; none for "exact".

    They are chosen once, when a study is created, and stored with it, so that its trials stay comparable wherever the
    search continues.
    """
    if spec.speed == "exact":
        return {}
    import torch

    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None or spec.fixed.get("use_cpu"):
        chosen = _choose_for_cpu(checkpoint)
    elif device.type == "cuda":
        chosen = _choose_for_cuda()
    else:
        chosen = GROUP_BY_LENGTH
    decided = spec.training.keys() | spec.space.parameters.keys()
    if decided & {"bf16", "fp16"}:
        decided |= {"bf16"}
    return {name: value for name, value in chosen.items() if name not in decided}


def announce_accelerations(
    spec: StudySpec, chosen: Mapping[str, Any], study: Study | None, notice: Callable[[str], None]
) -> None:
    """Report which accelerations are used, unless the study asks for none or is older than accelerations."""
    is_older = study is not None and StudyRecord.from_attributes(study.user_attrs).accelerations is None
    if spec.speed == "exact" or is_older:
        return
    listed = ", ".join(f"{name} = {str(value).lower()}" for name, value in chosen.items())
    notice(f'accelerations: {listed or "none for this device"} (training.speed = "exact" turns them off)')


def _choose_for_cpu(checkpoint: Checkpoint) -> dict[str, Any]:
    """Use bf16 if the processor multiplies in it, and no attention dropout: only without it attention is fused."""
    chosen: dict[str, Any] = dict(GROUP_BY_LENGTH)
    if has_bf16_instructions() and getattr(checkpoint.config, "hidden_size", 0) >= MIN_BF16_WIDTH:
        chosen["bf16"] = True
    dropouts = {name: 0.0 for name in ATTENTION_DROPOUTS if getattr(checkpoint.config, name, 0.0)}
    if dropouts and _can_fuse_attention(checkpoint, dropouts):
        chosen |= {f"model.{name}": value for name, value in dropouts.items()}
    return chosen


def _can_fuse_attention(checkpoint: Checkpoint, dropouts: Mapping[str, float]) -> bool:
    """Return whether attention is torch's own, and runs can verify that its dropout is gone."""
    if attention_implementation(checkpoint.fresh(dropouts)) != "sdpa":
        return False
    return all(checkpoint.field_effect(name, value).attributes for name, value in dropouts.items())


def _choose_for_cuda() -> dict[str, Any]:
    """Use bfloat16 from Ampere on; attention is fused there even with dropout."""
    import torch

    return {**GROUP_BY_LENGTH, "bf16": True} if torch.cuda.get_device_capability() >= (8, 0) else dict(GROUP_BY_LENGTH)
