"""Carve validation and test off train: at random, in whole groups of rows, or the latest rows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from hpo.data.overlaps import drop_shared_groups, refuse_missing_class
from hpo.data.stratified_draw import draw_rows, draw_units
from hpo.errors import DataError
from hpo.study.spec_tables import DataSpec

if TYPE_CHECKING:
    from hpo.data.splits import LoadedSplit


def carve_splits(splits: dict[str, LoadedSplit], names: Sequence[str], spec: DataSpec) -> list[str]:
    """Move a number or share of train's rows to test and validation, if the study sets one; return notices.

    With `data.group`, no group is in two of these splits. With `data.order`, test has the latest rows, and validation
    those before it. With neither, equal texts stay in one split, unless `data.split_equal_texts` is set, or too few are
    different.
    """
    notices, carved = [], []
    all_rows = splits["train"]
    for name in ("test", "validation"):
        amount = getattr(spec, name)
        if not isinstance(amount, int | float):
            continue
        count = amount if isinstance(amount, int) else max(1, round(amount * len(all_rows)))
        train = splits["train"]
        chosen = _choose_latest(train, count, f"data.{name}") if spec.order else _draw(train, count, names, name, spec)
        splits[name] = train.select(chosen)
        splits["train"] = train.select(sorted(set(range(len(train))) - set(chosen)))
        carved.append(name)
        if len(chosen) != count:
            reason = "groups stay together (data.group)" if spec.group else "equal texts stay together"
            notices.append(f"{name}: {len(chosen):,} rows instead of {count:,}, because {reason}")
    if spec.order and carved:
        refuse_missing_class(splits["train"], all_rows.labels, names, "data.order")
        if spec.group:
            notices += drop_shared_groups(splits, carved, names)
    return notices


def _draw(train: LoadedSplit, count: int, names: Sequence[str], name: str, spec: DataSpec) -> list[int]:
    key = f"data.{name}"
    units: Sequence[Hashable] = train.groups or ([] if spec.split_equal_texts else train.keys)
    if len(set(units)) < len(units):
        if chosen := draw_units(train.labels, units, count, names, key, seed=spec.seed):
            return chosen
        if spec.group:
            raise DataError(
                f"{key}: {count} of {len(train)} rows cannot be drawn in whole groups (data.group): each is too large, "
                "or has all rows of a class; change the number or add rows"
            )
        # A few texts, often repeated: a notice tells that validation has those of train.
    # With a unit per row, this draw must not change: studies of all versions depend on it.
    return draw_rows(train.labels, count, names, key, seed=spec.seed, leave=1)


def _choose_latest(train: LoadedSplit, count: int, key: str) -> list[int]:
    """Return the positions of the latest rows in rising order. Of rows with equal values, the last are the latest."""
    if count >= len(train):
        raise DataError(f"{key}: {count} of {len(train)} rows leave none to train on; change the number or add rows")
    by_order = sorted(range(len(train)), key=train.order.__getitem__)
    return sorted(by_order[len(train) - count :])
