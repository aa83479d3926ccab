"""What `training.speed = "auto"` switches on: on each device the fields that were measured to pay and not to cost.

Each lever is an ordinary field, so that a study file which fixes or searches it decides by itself, and every run
proves from its live parts that it ran with it. What gives the same model by other means is no lever, and done wherever
the study does not ask for "exact": shortcuts.py. benchmarks/RESULTS.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hpo.errors import unknown_name
from hpo.study.spec import StudySpec

if TYPE_CHECKING:
    from optuna import Study

    from hpo.training.checkpoint import Checkpoint

SPEEDS = ("auto", "exact")
# A text shares its batch with others of its length: little of it is padding.
GROUP_BY_LENGTH = {"train_sampling_strategy": "group_by_length"}
# A model narrower than this spends more time on casting to bfloat16 than its products take.
MIN_BF16_WIDTH = 256
# What configs call the share of attention weights that are dropped.
ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")


def check_speed(spec: StudySpec) -> None:
    """Raise SpecError for a speed that there is not."""
    if spec.speed not in SPEEDS:
        raise spec.error("training.speed", f"is {spec.speed!r}; it {unknown_name(str(spec.speed), SPEEDS)}")


def choose_accelerations(spec: StudySpec, checkpoint: Checkpoint) -> dict[str, Any]:
    """Field -> value of every lever that the study leaves to us on this device; none where it asks for "exact".

    They are decided once, when a study is made, and kept with it: its trials stay comparable wherever it goes on.
    """
    if spec.speed == "exact":
        return {}
    import torch

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device is None or spec.fixed.get("use_cpu"):
        chosen = _on_cpu(checkpoint)
    elif device.type == "cuda":
        chosen = _on_cuda()
    else:
        chosen = GROUP_BY_LENGTH
    decided = spec.training.keys() | spec.space.parameters.keys()
    if decided & {"bf16", "fp16"}:
        decided |= {"bf16"}
    return {name: value for name, value in chosen.items() if name not in decided}


def announce_accelerations(
    spec: StudySpec, chosen: Mapping[str, Any], study: Study | None, notice: Callable[[str], None]
) -> None:
    """Say which levers were taken, unless the study asks for none, or was begun before there were any."""
    if spec.speed == "exact" or study is not None and "speed" not in study.user_attrs:
        return
    shown = ", ".join(f"{name} = {str(value).lower()}" for name, value in chosen.items())
    notice(f'speed: {shown or "nothing to gain here"} (training.speed = "exact" takes the plain library\'s arithmetic)')


def _on_cpu(checkpoint: Checkpoint) -> dict[str, Any]:
    """Attention loses its dropout, without which it is fused on a CPU; bf16 where the processor multiplies in it."""
    chosen: dict[str, Any] = dict(GROUP_BY_LENGTH)
    if has_bf16_instructions() and getattr(checkpoint.config, "hidden_size", 0) >= MIN_BF16_WIDTH:
        chosen["bf16"] = True
    dropped = {name: 0.0 for name in ATTENTION_DROPOUTS if getattr(checkpoint.config, name, 0.0)}
    if dropped and _is_fused(checkpoint.fresh(dropped)):
        chosen |= {f"model.{name}": value for name, value in dropped.items()}
    return chosen


def _is_fused(model: Any) -> bool:
    """Whether attention is torch's own, and a model without its dropout shows that it has none, as runs must prove."""
    import torch

    shows = any(isinstance(module, torch.nn.Dropout) and module.p == 0.0 for module in model.modules())
    return shows and model.config._attn_implementation == "sdpa"


def _on_cuda() -> dict[str, Any]:
    """bfloat16 from Ampere on; attention is fused there with its dropout."""
    import torch

    return {**GROUP_BY_LENGTH, "bf16": True} if torch.cuda.get_device_capability() >= (8, 0) else dict(GROUP_BY_LENGTH)


def has_bf16_instructions() -> bool:
    """Whether the processor has instructions for products of bfloat16; without them bf16 is slower than float32."""
    import torch

    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)
