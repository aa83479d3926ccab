"""A classifier that reads the first token alone: the others need not go through the rest of its last layer.

BERT and its kin classify by the last layer's first token. What that layer does after its attention, three quarters of
its work, it does to each token by itself; for all but the first that is work for nothing, forward and backward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from operator import attrgetter
from typing import Any

import torch

# Where all that follows the last attention comes in, below the model's body; each takes tensors (texts, tokens, size).
ENTRIES = ("encoder.layer[-1].attention.output", "transformer.layer[-1].sa_layer_norm")


@contextmanager
def alone(model: Any, texts: Mapping[str, torch.Tensor]) -> Iterator[bool]:
    """While it lasts, only first tokens go through the end of the model's last layer; whether they do.

    They do where the model answers for `texts`, its input, as it would without: an architecture that reads other tokens
    is left as it is.
    """
    entry = _entry(model)
    if entry is None:
        yield False
        return
    whole = _answer(model, texts)
    hook = entry.register_forward_pre_hook(lambda module, tensors: tuple(tensor[:, :1] for tensor in tensors))
    try:
        first = _answer(model, texts)
        is_same = first is not None and whole is not None and torch.allclose(first, whole, atol=1e-4)
        if not is_same:
            hook.remove()
        yield is_same
    finally:
        hook.remove()


def _entry(model: Any) -> Any:
    """The module by which all that follows the last attention begins; None in an architecture that is not known."""
    for path in ENTRIES:
        layers, _, name = path.partition("[-1].")
        with suppress(AttributeError):
            return attrgetter(name)(attrgetter(layers)(model.base_model)[-1])
    return None


def _answer(model: Any, texts: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """The logits in float32, without dropout, whatever accelerate has put around the model; None where it fails."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits: torch.Tensor = type(model).forward(model, **texts).logits
        return logits
    except Exception:  # whatever a model's own code makes of fewer tokens than it expects
        return None
    finally:
        model.train(was_training)
