"""Match the labels of a checkpoint's classification head with the labels of a study."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LabelMatch:
    """Which row of a head stands for each label of a study.

    Attributes:
        rows: For each label of the study, its row in the head.
        is_assumed: Whether the names say nothing about it, so that the rows are taken in their own order.
    """

    rows: list[int]
    is_assumed: bool = False


def match_labels(head: Sequence[str], labels: Sequence[str]) -> LabelMatch | None:
    """Return, for each label of the study, the row of the head that means it; None if the names do not match.

    Equal names are matched first, then names that are equal but for case and separators, then those of which one starts
    with the other (neg, NEGATIVE; 1, "1 star"), so that `sports` never takes the row of `sports news`. If the names do
    not match and those on either side are mere numbers, labels and rows are matched by position.
    """
    if len(head) != len(labels):
        return None
    rows = _match_names(head, labels)
    if rows is not None:
        return LabelMatch(rows)
    if are_numbered(labels) or are_numbered(head):
        return LabelMatch(list(range(len(labels))), is_assumed=True)
    return None


def read_head_labels(id2label: Mapping[Any, str]) -> list[str]:
    """Return the names of a head's rows. A config may number them from 1, or with gaps; rows are in sorted order."""
    return [str(id2label[index]) for index in sorted(id2label)]


def are_numbered(names: Sequence[str]) -> bool:
    """Return whether the names are 0, 1, ... or LABEL_0, LABEL_1, ..."""
    return [name.upper().removeprefix("LABEL_") for name in names] == [str(index) for index in range(len(names))]


def list_labels(names: Sequence[str]) -> str:
    """Return the first six names, separated by commas."""
    return _join_six(list(names))


def list_pairs(head: Sequence[str], labels: Sequence[str]) -> str:
    """Return `0 = NEGATIVE, 1 = POSITIVE`: what each label of the study is taken to mean, for the first six."""
    return _join_six([f"{label} = {name}" for label, name in zip(labels, head, strict=True)])


def _join_six(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _match_names(head: Sequence[str], labels: Sequence[str]) -> list[int] | None:
    """Return the row of each label, each row once, or None if a label has no row, or several that are equally good."""
    rows: dict[int, int] = {}  # label -> row
    for is_same in (_are_equal, _are_equal_but_for_case, _shares_first_words, _shares_start):
        pairs = _unique_pairs(
            [label for label in range(len(labels)) if label not in rows],
            [row for row in range(len(head)) if row not in rows.values()],
            lambda label, row, is_same=is_same: is_same(labels[label], head[row]),  # type: ignore[misc]
        )
        rows |= pairs
    return [rows[label] for label in range(len(labels))] if len(rows) == len(labels) else None


def _unique_pairs(labels: list[int], rows: list[int], is_pair: Callable[[int, int], bool]) -> dict[int, int]:
    """Return the pairs of which neither side belongs to a second pair."""
    pairs = [(label, row) for label in labels for row in rows if is_pair(label, row)]
    ends = [label for label, _ in pairs], [row for _, row in pairs]
    return {label: row for label, row in pairs if ends[0].count(label) == ends[1].count(row) == 1}


def _split_words(name: str) -> list[str]:
    """Return the words of a name in lower case, without the prefix that transformers gives numbered labels."""
    words = re.split(r"[\s_-]+", name.strip().casefold())
    return words[1:] if words[0] == "label" and len(words) > 1 else words


def _are_equal(one: str, other: str) -> bool:
    return one == other


def _are_equal_but_for_case(one: str, other: str) -> bool:
    return _split_words(one) == _split_words(other)


def _shares_first_words(one: str, other: str) -> bool:
    shorter, longer = sorted((_split_words(one), _split_words(other)), key=len)
    return longer[: len(shorter)] == shorter


def _shares_start(one: str, other: str) -> bool:
    shorter, longer = sorted((" ".join(_split_words(one)), " ".join(_split_words(other))), key=len)
    return shorter != "" and longer.startswith(shorter)
