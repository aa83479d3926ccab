"""Check that every batch size and accumulation that a study may use fits its number of rows."""

from __future__ import annotations

from typing import Any

from hpo.study.spec import StudySpec

BATCH, ACCUMULATION, DROP_LAST = "per_device_train_batch_size", "gradient_accumulation_steps", "dataloader_drop_last"
DEFAULTS = {BATCH: 8, ACCUMULATION: 1, DROP_LAST: False}  # of TrainingArguments


def check_batches(spec: StudySpec, rows: int) -> None:
    """Raise SpecError if trials could not train with a batch size or accumulation that the study sets or searches.

    `rows` are those of the train split, on which trials are trained; final runs have these or more. A loader makes
    smaller batches without an error, or none, and Trainer accumulates no more batches than an epoch has. A fixed batch
    size may exceed the rows: then every run does the same, see `batch_notice`.
    """
    batch, accumulation, drops_last = (_largest(spec, name) for name in (BATCH, ACCUMULATION, DROP_LAST))
    if batch > rows and BATCH in spec.space.parameters:
        raise spec.error(_key(spec, BATCH), f"goes up to {batch}, but there are {rows} train rows; lower it")
    if batch > rows and drops_last:
        problem = f"drops all {rows} train rows, which do not fill a batch of {batch}"
        raise spec.error(_key(spec, DROP_LAST), f"{problem}; set training.{BATCH} to {rows} or less")
    batches = rows // batch if drops_last else -(-rows // batch)
    if accumulation > batches:
        verb = "goes up to" if ACCUMULATION in spec.space.parameters else "is"
        count = "1 batch" if batches == 1 else f"{batches} batches"
        raise spec.error(
            _key(spec, ACCUMULATION),
            f"{verb} {accumulation}, but {rows} train rows in batches of {batch} are {count} an epoch; "
            f"lower it, or {BATCH}",
        )


def batch_notice(spec: StudySpec, rows: int) -> str | None:
    """Return a sentence if the study sets a larger batch than there are train rows, or None."""
    if BATCH not in spec.fixed or spec.fixed[BATCH] <= rows:
        return None
    return f"training.{BATCH} is {spec.fixed[BATCH]}, but there are {rows} train rows, so each step uses all of them"


def _largest(spec: StudySpec, name: str) -> Any:
    """Return the largest value that a trial may have."""
    axis = spec.space.parameters.get(name)
    return spec.fixed.get(name, DEFAULTS[name]) if axis is None else max(axis.ends)


def _key(spec: StudySpec, name: str) -> str:
    """Return the key by which the study searches a field, or sets it."""
    return f"space.parameters.{name}" if name in spec.space.parameters else f"training.{name}"
