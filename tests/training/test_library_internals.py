"""Every private name of a library that hpo uses still exists; a failure names the library's version that broke it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, modeling_utils
from transformers.integrations import TrackioCallback

from hpo.training import library_internals


def tiny_model() -> Any:
    return BertForSequenceClassification(
        BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    )


def wrapped_model() -> Any:
    """Return a model that accelerate has wrapped for bf16; its settings are global, so they are reset around it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        return Accelerator(cpu=True, mixed_precision="bf16").prepare_model(tiny_model())
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


# library -> what is private in it -> whether it is there and does what library_internals uses it for
CHECKS: dict[str, dict[str, Callable[[], object]]] = {
    "torch": {
        "cpu._is_avx512_bf16_supported": lambda: callable(torch.cpu._is_avx512_bf16_supported),
        "cpu._is_amx_tile_supported": lambda: callable(torch.cpu._is_amx_tile_supported),
        "nn.Module._forward_hooks": lambda: not library_internals.has_forward_hooks(torch.nn.Identity()),
        "_foreach_zero_": lambda: callable(torch._foreach_zero_),
        "_softmax_backward_data": lambda: callable(torch._softmax_backward_data),
    },
    "transformers": {
        "config._attn_implementation": lambda: library_internals.attention_implementation(tiny_model()) == "sdpa",
        "PreTrainedModel.initialize_weights": lambda: callable(tiny_model().initialize_weights),
        "_is_hf_initialized": lambda: "_is_hf_initialized" in inspect.getsource(modeling_utils),
        "TrainingArguments._n_gpu": lambda: "_n_gpu" in inspect.getsource(TrainingArguments),
        "Trainer._get_eval_sampler": lambda: callable(Trainer._get_eval_sampler),
        "TrackioCallback._initialized": lambda: "_initialized" in inspect.getsource(TrackioCallback),
    },
    "accelerate": {
        "_original_forward": lambda: library_internals.is_wrapped_for_autocast(wrapped_model()),
        "_is_accelerate_prepared": lambda: wrapped_model()._is_accelerate_prepared,
    },
}


@pytest.mark.parametrize(("library", "name"), [(library, name) for library, names in CHECKS.items() for name in names])
def test_private_name_exists_in_the_installed_version(library: str, name: str) -> None:
    try:
        exists = CHECKS[library][name]()
    except AttributeError:
        exists = False
    assert exists, f"{library} {version(library)} has no {name}: change hpo/training/library_internals.py"


def test_missing_weights_are_drawn_and_loaded_ones_kept() -> None:
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    addresses = [parameter.data_ptr() for parameter in model.parameters()]
    library_internals.draw_missing_weights(model, before.keys() - {"classifier.weight"})
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"classifier.weight"}
    assert addresses == [parameter.data_ptr() for parameter in model.parameters()]


def test_softmax_gradient_is_that_of_autograd() -> None:
    scores, gradient = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4)
    output = torch.softmax(scores, dim=-1)
    output.backward(gradient)
    assert scores.grad is not None
    assert torch.allclose(library_internals.softmax_gradient(gradient, output.detach()), scores.grad)


def test_wrappers_of_accelerate_are_removed() -> None:
    model = wrapped_model()
    library_internals.remove_accelerate_wrappers(model)
    assert not {"forward", "_original_forward", "_is_accelerate_prepared"} & model.__dict__.keys()
