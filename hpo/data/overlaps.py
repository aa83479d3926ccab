"""Report what two splits have in common, and drop it: equal texts, groups, and rows in the wrong order of time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from hpo.errors import DataError, quote_value

if TYPE_CHECKING:
    from hpo.data.splits import LoadedSplit

SPLIT_ORDER = ("train", "validation", "test")  # what stands in a later split too is dropped from the earlier one


def describe_overlaps(splits: Mapping[str, LoadedSplit]) -> list[str]:
    """Return a sentence on each pair of splits with equal texts or common groups, and on rows out of order.

    Texts are equal if they differ only by case, white space and punctuation, see `text_comparison`.
    """
    notices = []
    for earlier, later in _pairs(splits):
        notices += _describe_equal_texts(earlier, later, splits)
        notices += _describe_common_groups(earlier, later, splits)
        notices += _describe_late_rows(earlier, later, splits)
    return notices


def describe_repeats(train: LoadedSplit) -> list[str]:
    """Return a sentence, in a list, if train has equal texts."""
    repeated = len(train) - len(set(train.keys))
    if not repeated:
        return []
    kinds = _count_kinds(repeated, len(train) - len(set(train.texts)))
    return [f"train: {repeated:,} of {len(train):,} texts are repeats of another ({kinds})"]


def drop_leaks(splits: dict[str, LoadedSplit], name: str, names: Sequence[str]) -> list[str]:
    """Remove the rows of a split whose texts or groups stand in a later one; return a notice. Test is never changed.

    Raises DataError if train loses a class, or validation all its rows.
    """
    split, later = splits[name], _later_splits(splits, name)
    keys = {key for other in later for key in splits[other].keys}
    groups = {group for other in later for group in splits[other].groups}
    is_leak = [key in keys for key in split.keys]
    if groups:
        is_leak = [leaks or group in groups for leaks, group in zip(is_leak, split.groups, strict=True)]
    notice = (
        f"{name}: drop_leaks removed {sum(is_leak):,} of {len(split):,} rows, because their "
        f"{'texts or groups' if groups else 'texts'} also occur in {' or '.join(later)}"
    )
    return _remove(splits, name, names, is_leak, notice, "data.drop_leaks")


def drop_shared_groups(splits: dict[str, LoadedSplit], carved: Collection[str], names: Sequence[str]) -> list[str]:
    """Leave out the rows of each group that a carved split has later rows of, so that no group is in two splits."""
    notices = []
    for name in ("validation", "train"):
        if name == "validation" and name not in carved:
            continue
        later = [other for other in _later_splits(splits, name) if other in carved]
        groups = {group for other in later for group in splits[other].groups}
        is_shared = [group in groups for group in splits[name].groups]
        notice = (
            f"{name}: {sum(is_shared):,} of {len(is_shared):,} rows are left out, because {' or '.join(later)} has "
            "later rows of their groups (data.group, data.order)"
        )
        notices += _remove(splits, name, names, is_shared, notice, "data.group")
    return notices


def refuse_missing_class(train: LoadedSplit, labels: Collection[int], names: Sequence[str], key: str) -> None:
    """Raise DataError if train lacks a class that is among `labels`; `key` is what has removed its rows."""
    if emptied := set(labels) - set(train.labels):
        advice = "set it to false" if key == "data.drop_leaks" else "leave it out"
        raise DataError(
            f"{key}: leaves train without a row of class {quote_value(names[min(emptied)])}; add rows or {advice}"
        )


def _pairs(splits: Mapping[str, LoadedSplit]) -> list[tuple[str, str]]:
    return [(name, later) for name in SPLIT_ORDER if name in splits for later in _later_splits(splits, name)]


def _later_splits(splits: Mapping[str, LoadedSplit], name: str) -> list[str]:
    return [later for later in SPLIT_ORDER[SPLIT_ORDER.index(name) + 1 :] if later in splits]


def _remove(
    splits: dict[str, LoadedSplit], name: str, names: Sequence[str], is_removed: Sequence[bool], notice: str, key: str
) -> list[str]:
    """Remove rows of a split; return the notice in a list, or none if there are no such rows."""
    split = splits[name]
    kept = [row for row, removed in enumerate(is_removed) if not removed]
    if len(kept) == len(split):
        return []
    splits[name] = split.select(kept)
    if name == "train":
        refuse_missing_class(splits["train"], split.labels, names, key)
    elif not kept:
        raise DataError(f"{key}: leaves {name} without a row; choose another data.{name}")
    return [notice]


def _describe_equal_texts(earlier: str, later: str, splits: Mapping[str, LoadedSplit]) -> list[str]:
    keys, texts = set(splits[earlier].keys), set(splits[earlier].texts)
    split = splits[later]
    equal = sum(key in keys for key in split.keys)
    if not equal:
        return []
    kinds = _count_kinds(equal, sum(text in texts for text in split.texts))
    return [
        f"{later}: {equal:,} of {len(split):,} texts also occur in {earlier} ({kinds}); "
        f"data.drop_leaks = true removes them from {earlier}"
    ]


def _count_kinds(equal: int, exact: int) -> str:
    """Return how many of the equal texts are exactly so."""
    if exact == equal:
        return "all exact"
    return f"{exact:,} exact, {equal - exact:,} but for case, white space or punctuation"


def _describe_common_groups(earlier: str, later: str, splits: Mapping[str, LoadedSplit]) -> list[str]:
    common = set(splits[earlier].groups) & set(splits[later].groups)
    if not common:
        return []
    rows = sum(group in common for group in splits[later].groups)
    count = "1 group" if len(common) == 1 else f"{len(common):,} groups"
    return [
        f"{later}: {rows:,} of {len(splits[later]):,} rows belong to {count} (data.group) that {earlier} has too; "
        f"data.drop_leaks = true removes their rows from {earlier}"
    ]


def _describe_late_rows(earlier: str, later: str, splits: Mapping[str, LoadedSplit]) -> list[str]:
    if not splits[later].order:
        return []
    first = min(splits[later].order)
    late = sum(value > first for value in splits[earlier].order)
    if not late:
        return []
    return [
        f"{earlier}: {late:,} of {len(splits[earlier]):,} rows are later (data.order) than the first row of "
        f"{later}, so scores on {later} are not those of later texts"
    ]
