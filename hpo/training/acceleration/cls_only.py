"""A classifier that reads the first token alone: the others need not go through the rest of its last layer.

BERT and its kin classify by the last layer's first token. What that layer does after its attention, three quarters of
its work, it does to each token by itself; for all but the first that is work for nothing, forward and backward. So are
the queries of the others: on a CPU the first token's stands for all of them, and kernels.py answers it once. (A GPU
would answer it again for each, and set attention up anew for tensors laid out like this.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from operator import attrgetter
from typing import Any

import torch

# Below the model's body, in the last of these layers: what makes the queries of its attention, and where all that
# follows the attention comes in. Both take tensors (texts, tokens, size).
LAST_LAYERS = (
    ("encoder.layer", "attention.self.query", "attention.output"),
    ("transformer.layer", "attention.q_lin", "sa_layer_norm"),
)


@contextmanager
def cls_only_last_layer(model: Any, texts: Mapping[str, torch.Tensor]) -> Iterator[bool]:
    """While it lasts, only first tokens go through the end of the model's last layer; whether they do.

    They do where the model answers for `texts`, its input, as it would without: an architecture that reads other tokens
    is left as it is.
    """
    ends = _ends(model)
    if ends is None:
        yield False
        return
    queries, entry = ends
    whole = _answer(model, texts)
    with ExitStack() as changes:
        if model.device.type == "cpu":
            queries.forward = partial(_of_first, queries)
            changes.callback(delattr, queries, "forward")
        hook = entry.register_forward_pre_hook(lambda module, tensors: tuple(tensor[:, :1] for tensor in tensors))
        changes.callback(hook.remove)
        first = _answer(model, texts)
        is_same = first is not None and whole is not None and torch.allclose(first, whole, atol=1e-4)
        if not is_same:
            changes.close()
        yield is_same


def _of_first(queries: Any, states: torch.Tensor) -> torch.Tensor:
    """The first token's query in the place of every token's, without a copy."""
    first: torch.Tensor = type(queries).forward(queries, states[:, :1])
    return first.expand(-1, states.shape[1], -1)


def _ends(model: Any) -> tuple[Any, Any] | None:
    """What makes the last layer's queries, and by what the rest of it begins; None in an unknown architecture."""
    for layers, *names in LAST_LAYERS:
        with suppress(AttributeError):
            last = attrgetter(layers)(model.base_model)[-1]
            queries, entry = (attrgetter(name)(last) for name in names)
            return queries, entry
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
