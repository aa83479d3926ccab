"""Match the labels of a checkpoint's classification head with the labels of a study."""

from __future__ import annotations

from collections.abc import Sequence


def match_labels(head: Sequence[str], labels: Sequence[str]) -> list[int] | None:
    """Return, for each label of the study, the row of the head that means it; None if the names do not match.

    Two names match if one starts with the other, ignoring case (neg, NEGATIVE). If the labels on either side are mere
    numbers, they are matched by position.
    """
    if are_numbered(labels) or are_numbered(head):
        return list(range(len(labels)))
    lowered = [name.lower() for name in head]
    order = []
    for label in labels:
        lower = label.lower()
        rows = [row for row, name in enumerate(lowered) if name.startswith(lower) or lower.startswith(name)]
        if len(rows) != 1:
            return None
        order += rows
    return order if sorted(order) == list(range(len(labels))) else None


def are_numbered(names: Sequence[str]) -> bool:
    """Return whether the names are 0, 1, ... or LABEL_0, LABEL_1, ..."""
    return [name.upper().removeprefix("LABEL_") for name in names] == [str(index) for index in range(len(names))]


def list_labels(names: Sequence[str]) -> str:
    """Return the first six names, separated by commas."""
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
