"""Check that every batch size and accumulation that a study may use fits its number of rows."""

from __future__ import annotations

from typing import Any

from hpo.study.spec import StudySpec

DEFAULTS = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "dataloader_drop_last": False}


def check_batches(spec: StudySpec, rows: int) -> None:
    """Raise SpecError if a run could not train with a batch size or accumulation that the study sets or searches.

    `rows` are those of the train split, on which trials are trained; final runs have these or more. A loader makes
    smaller batches without an error, or none, and Trainer accumulates over the batches that an epoch has.
    """
    batch, accumulation = (
        _largest(spec, name) for name in ("per_device_train_batch_size", "gradient_accumulation_steps")
    )
    is_dropped = _largest(spec, "dataloader_drop_last")
    if batch > rows and (is_set := _is_set(spec, "per_device_train_batch_size")):
        problem = f"{_describe(spec, 'per_device_train_batch_size')}, but there are {rows} train rows; lower it"
        raise spec.error(is_set, problem)
    if batch > rows and is_dropped:
        problem = f"drops all {rows} train rows, which do not fill a batch of {batch}; "
        raise spec.error(
            _is_set(spec, "dataloader_drop_last"),
            f"{problem}set training.per_device_train_batch_size to {rows} or less",
        )
    batches = rows // batch if is_dropped else -(-rows // batch)
    if accumulation > batches:
        raise spec.error(
            _is_set(spec, "gradient_accumulation_steps"),
            f"{_describe(spec, 'gradient_accumulation_steps')}, but {rows} train rows in batches of {batch} are only "
            f"{batches} {'batch' if batches == 1 else 'batches'} an epoch; lower it, or per_device_train_batch_size",
        )


def _largest(spec: StudySpec, name: str) -> Any:
    """Return the largest value that a trial may have."""
    axis = spec.space.parameters.get(name)
    return spec.fixed.get(name, DEFAULTS[name]) if axis is None else max(axis.ends)


def _is_set(spec: StudySpec, name: str) -> str:
    """Return the key by which the study sets or searches a field, or an empty text."""
    if name in spec.space.parameters:
        return f"space.parameters.{name}"
    return f"training.{name}" if name in spec.training else ""


def _describe(spec: StudySpec, name: str) -> str:
    return f"{'goes up to' if name in spec.space.parameters else 'is'} {_largest(spec, name)}"
