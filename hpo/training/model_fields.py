"""Fields of a model's own config (`model.<field>`): which values they accept, and where in the model they take effect.

A config is no evidence of what a model computes. Qwen2, Llama and Mistral keep attention dropout as a number and call
the functional dropout; BART does the same with layer dropout; BERT has modules, and several fields that set the same
kind of module. So nothing here knows an architecture: two models that differ only in one field are built without
weights, and the attributes in which they differ are the ones that the field governs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.errors import unknown_name

MODEL_PREFIX = "model."  # precedes the name of a config field in a study file
# Fields that data and checkpoint decide.
_FIXED_BY_DATA = {"num_labels", "id2label", "label2id", "problem_type", "dtype", "vocab_size", "model_type"}
_SCALARS = (bool, int, float, str, tuple, type(None))
Snapshot = Mapping[tuple[str, str], Any]  # (module, attribute) -> value


@dataclass(frozen=True)
class FieldEffect:
    """What a config field changes in the model.

    Attributes:
        attributes: (module, attribute) of every attribute that holds the field's value.
        is_used: whether the model differs at all by the field: in these attributes, in others that are derived from
            them, or in its modules and their shapes.
    """

    attributes: tuple[tuple[str, str], ...]
    is_used: bool

    def read(self, model: Any, field: str, sampled: Any) -> Any:
        """Return the field's value in a live model: the sampled one only if all governed attributes hold it.

        A field that governs no attribute, such as the number of layers, is read from the model's config. None if the
        model does not use the field.
        """
        if not self.is_used:
            return None
        values = [getattr(model.get_submodule(module), attribute, None) for module, attribute in self.attributes]
        values = values or [getattr(model.config, field)]
        return next((value for value in values if value != sampled), sampled)


def field_problem(config: Any, checkpoint: str, field: str, values: Sequence[Any]) -> str | None:
    """Return why a config field cannot take these values, or None if it can."""
    if field in _FIXED_BY_DATA:
        return "cannot be searched: data and checkpoint decide it"
    names = {name for name in config.to_dict() if not name.startswith("_")}
    if field not in names:
        suggestion = unknown_name(field, names, limit=0)
        return suggestion if "did you mean" in suggestion else f"is unknown to the config of {checkpoint}"
    current = getattr(config, field)
    if current is None:
        return None
    for value in values:
        fits = isinstance(value, int | float) if isinstance(current, float) else type(value) is type(current)
        if not fits or isinstance(value, bool) != isinstance(current, bool):
            return f"holds {value!r}; must be {type(current).__name__}, as {current!r} in the checkpoint's config"
    return None


def find_field_effect(build: Callable[[Mapping[str, Any]], Any], config: Any, field: str, value: Any) -> FieldEffect:
    """Compare two models that differ only in this field.

    `build` makes a model, without weights, from changes of the config; `value` is one that the field can take.
    """
    other = _other_value(value, getattr(config, field))
    if other is None:
        return FieldEffect((), is_used=True)  # no second value to compare with: the config is all that can be read
    try:
        first, second = (_take_snapshot(build({field: setting})) for setting in (value, other))
    except Exception:  # whatever a model's own code makes of the second value, which nobody asked for
        return FieldEffect((), is_used=True)
    differing = [key for key in first if key in second and first[key] != second[key]]
    governed = tuple(key for key in differing if (first[key], second[key]) == (value, other))
    # The initialization of weights reads initializer_range, init_std, ... from the config and keeps them nowhere.
    is_used = bool(differing) or first.keys() != second.keys() or field.startswith("init")
    return FieldEffect(governed, is_used)


def _other_value(value: Any, current: Any) -> Any:
    """Return a second value of a numeric field that may be a probability; None for other types."""
    if isinstance(value, bool):
        return not value
    if isinstance(current, int) and not isinstance(current, bool):
        return value + 1
    if isinstance(value, int | float):
        return 0.5 if value != 0.5 else 0.25
    return None


def _take_snapshot(model: Any) -> Snapshot:
    """Return the classes, the shapes of the weights, and all plain attributes of a model's modules."""
    snapshot: dict[tuple[str, str], Any] = {}
    for path, module in model.named_modules():
        snapshot[path, "class"] = type(module)
        weights = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
        snapshot |= {(path, f"shape of {name}"): tuple(tensor.shape) for name, tensor in weights.items()}
        plain = {name: value for name, value in vars(module).items() if isinstance(value, _SCALARS)}
        snapshot |= {(path, name): value for name, value in plain.items()}
    return snapshot
