"""Private names of torch, transformers and accelerate, in one place, since any release may remove them.

`tests/training/test_library_internals.py` fails with the version of the library that removed one. Names that have to
be used where torch is already imported take and return plain objects, so this module imports nothing heavy itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

# What accelerate sets on a model that it has prepared and wrapped for bf16 or fp16.
_ACCELERATE_WRAPPERS = ("forward", "_original_forward", "_is_accelerate_prepared")
# Tell whether the processor has instructions for products of bfloat16 (AVX-512 BF16, AMX).
_BF16_INSTRUCTIONS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


# --- torch ------------------------------------------------------------------------------------------------------------


def has_bf16_instructions() -> bool:
    """Return whether the processor multiplies in bfloat16; if not, bf16 is slower than float32 on a CPU.

    If a version of torch lacks these functions, the answer is no.
    """
    import torch

    return any(getattr(torch.cpu, name, bool)() for name in _BF16_INSTRUCTIONS)


def has_forward_hooks(module: Any) -> bool:
    """Return whether hooks run after the module's forward pass."""
    return bool(module._forward_hooks)


def zero_tensors(tensors: Iterable[Any]) -> None:
    """Set tensors to zero with one kernel for all of them."""
    import torch

    torch._foreach_zero_(list(tensors))


def softmax_gradient(gradient: Any, output: Any) -> Any:
    """Return the gradient of the input of a softmax over the last dimension."""
    import torch

    return torch._softmax_backward_data(gradient, output, -1, output.dtype)


# --- transformers -----------------------------------------------------------------------------------------------------


def attention_implementation(model: Any) -> str:
    """Return the kind of attention that the model computes: `sdpa`, `eager`, ..."""
    return str(model.config._attn_implementation)


def draw_missing_weights(model: Any, loaded: Collection[str]) -> None:
    """Draw all weights but the loaded ones, as `from_pretrained` draws what a checkpoint lacks.

    The same walk over the modules with the same flags: a model's class may set the weights of a module while it visits
    that module's parent (T5, ModernBERT). All are drawn on the CPU, so that a
    seed stands for the same weights on every device; the tensors keep their addresses, which CUDA graphs have recorded.
    """
    import torch

    tensors = model.state_dict(keep_vars=True)
    for item in (*model.modules(), *tensors.values()):
        item._is_hf_initialized = False
    for name in tensors.keys() & loaded:  # of a tensor with two names, one may be missing in the file
        tensors[name]._is_hf_initialized = True
    missing = {id(tensor): tensor for tensor in tensors.values() if not tensor._is_hf_initialized}.values()
    homes = [(tensor, tensor.data) for tensor in missing]
    for tensor, home in homes:
        tensor.data = torch.empty_like(home, device="cpu").copy_(home)
    try:
        model.initialize_weights()
    finally:
        for tensor, home in homes:
            home.copy_(tensor.data)
            tensor.data = home


def use_one_device(args: Any) -> None:
    """Keep Trainer from spreading a batch over all GPUs of the machine."""
    args._n_gpu = min(args.n_gpu, 1)


def has_started(trackio_callback: Any) -> bool:
    """Return whether the integration of Trackio has opened its run."""
    return bool(trackio_callback._initialized)


# --- accelerate -------------------------------------------------------------------------------------------------------


def is_wrapped_for_autocast(model: Any) -> bool:
    """Return whether accelerate has wrapped this model's forward pass for bf16 or fp16."""
    return "_original_forward" in model.__dict__


def remove_accelerate_wrappers(model: Any) -> None:
    """Remove what accelerate has wrapped around a model's forward pass.

    accelerate marks a model that it has prepared and never looks at it again. Without this, every trial after the first
    would train in the precision of the first one, whatever its arguments say.
    """
    for name in _ACCELERATE_WRAPPERS:
        model.__dict__.pop(name, None)
