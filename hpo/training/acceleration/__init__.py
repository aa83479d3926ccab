"""Everything that makes training faster: what the rest of hpo uses is listed here, and nothing else is imported.

`presets` chooses hyperparameters for `training.speed = "auto"`; `session` applies what gives the same model in less
time: `cls_only`, `cpu_kernels`, `cuda_graphs`. `malloc`, `gc_freeze` and `counters` keep the process around them fast.
Names are imported when they are first used, because most of their modules import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo.training.acceleration.counters import DeviceCounters
    from hpo.training.acceleration.gc_freeze import frozen_gc
    from hpo.training.acceleration.malloc import keep_freed_memory, release_freed_memory
    from hpo.training.acceleration.presets import announce_accelerations, check_speed, choose_accelerations
    from hpo.training.acceleration.session import AccelerationSession

__all__ = [
    "AccelerationSession",
    "DeviceCounters",
    "announce_accelerations",
    "check_speed",
    "choose_accelerations",
    "frozen_gc",
    "keep_freed_memory",
    "release_freed_memory",
]

_MODULES = {
    "AccelerationSession": "session",
    "DeviceCounters": "counters",
    "announce_accelerations": "presets",
    "check_speed": "presets",
    "choose_accelerations": "presets",
    "frozen_gc": "gc_freeze",
    "keep_freed_memory": "malloc",
    "release_freed_memory": "malloc",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
