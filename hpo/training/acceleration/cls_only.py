"""Skip, in the last layer, the tokens that a classifier of the first token never reads.

BERT and related models classify by the last layer's first token. What that layer does after its attention, three
quarters of its work, it does to each token separately, so for all other tokens the work is wasted, forward and
backward. The same holds for the queries of the other tokens: on a CPU the first token's query stands for all of them,
and `cpu_kernels` computes attention for it once. (A GPU would compute it again for each token, and would have to set up
attention for tensors laid out like this.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from operator import attrgetter
from typing import Any

import torch

# Below the model's body: the layers, and in the last of them the module that makes the queries, and the module that the
# output of attention enters. Both take tensors of shape (texts, tokens, size).
LAST_LAYERS = (
    ("encoder.layer", "attention.self.query", "attention.output"),
    ("transformer.layer", "attention.q_lin", "sa_layer_norm"),
)


@contextmanager
def cls_only_last_layer(model: Any, texts: Mapping[str, torch.Tensor]) -> Iterator[bool]:
    """Pass only first tokens through the end of the model's last layer. Yields whether that is done.

    It is done if the logits for `texts`, an input of the model, stay the same. An architecture that reads other tokens
    is left unchanged.
    """
    modules = _find_last_layer(model)
    if modules is None:
        yield False
        return
    queries, after_attention = modules
    expected = _compute_logits(model, texts)
    with ExitStack() as changes:
        if model.device.type == "cpu":
            queries.forward = partial(_query_of_first, queries)
            changes.callback(delattr, queries, "forward")
        hook = after_attention.register_forward_pre_hook(
            lambda module, tensors: tuple(tensor[:, :1] for tensor in tensors)
        )
        changes.callback(hook.remove)
        logits = _compute_logits(model, texts)
        is_same = logits is not None and expected is not None and torch.allclose(logits, expected, atol=1e-4)
        if not is_same:
            changes.close()
        yield is_same


def _query_of_first(queries: Any, states: torch.Tensor) -> torch.Tensor:
    """Return the first token's query for every token, without a copy."""
    first: torch.Tensor = type(queries).forward(queries, states[:, :1])
    return first.expand(-1, states.shape[1], -1)


def _find_last_layer(model: Any) -> tuple[Any, Any] | None:
    """Return the two modules named in LAST_LAYERS, or None for an unknown architecture."""
    for layers, *names in LAST_LAYERS:
        with suppress(AttributeError):
            last = attrgetter(layers)(model.base_model)[-1]
            queries, after_attention = (attrgetter(name)(last) for name in names)
            return queries, after_attention
    return None


def _compute_logits(model: Any, texts: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """Return the logits in float32 without dropout, bypassing accelerate's wrappers; None if the model fails."""
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
