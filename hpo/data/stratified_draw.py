"""Draw rows of a split at random, with each class by its share: single rows, or units of rows that stay together."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import TypeVar

from hpo.errors import DataError, quote_value

Key = TypeVar("Key", bound=Hashable)

_ATTEMPTS = 20  # at drawing units whose rows add up to what is wanted


def draw_rows(
    labels: Sequence[int], count: int, names: Sequence[str], key: str, *, seed: int, leave: int = 0
) -> list[int]:
    """Return `count` random positions in rising order, with each class by its share of the split and at least once.

    At least `leave` rows of each class are not drawn. Raises DataError, naming `key`, if that is impossible.
    """
    quota = _allot(labels, count, names, key, leave)
    rows_by_label = _group_by(labels)
    draw = random.Random(f"{seed} {key}")
    return sorted(row for label in sorted(rows_by_label) for row in draw.sample(rows_by_label[label], quota[label]))


def draw_units(
    labels: Sequence[int], units: Sequence[Hashable], count: int, names: Sequence[str], key: str, *, seed: int
) -> list[int]:
    """Return about `count` random positions in rising order, all rows of a unit or none, with classes by their shares.

    Units are taken in random order as long as each brings the drawn rows closer to the quotas of the classes, so large
    units are as likely to be drawn as small ones. Single rows make the number exact if there are enough of them. One
    row of each class at least is not drawn. Raises DataError, naming `key`, if that is impossible.
    """
    quota = _allot(labels, count, names, key, leave=1)
    rows_by_unit = list(_group_by(units).values())
    draw = random.Random(f"{seed} {key}")
    best: list[list[int]] = []
    smallest_gap: int | None = None
    for _ in range(_ATTEMPTS):
        draw.shuffle(rows_by_unit)
        drawn, gap = _take_units(rows_by_unit, labels, quota)
        if smallest_gap is None or gap < smallest_gap:
            best, smallest_gap = drawn, gap
        if gap == 0:
            break
    return sorted(row for rows in best for row in rows)


def _take_units(
    units: Sequence[list[int]], labels: Sequence[int], quota: dict[int, int]
) -> tuple[list[list[int]], int]:
    """Return the units that are drawn in this order, and by how many rows they miss the quotas."""
    missing, left = Counter(quota), Counter(labels)
    drawn = []
    for rows in units:
        counts = Counter(labels[row] for row in rows)
        # The change of the sum of squares of what is missing.
        change = sum(count * (count - 2 * missing[label]) for label, count in counts.items())
        if change < 0 and all(count < left[label] for label, count in counts.items()):
            drawn.append(rows)
            missing.subtract(counts)
            left.subtract(counts)
    kept = []
    for rows in reversed(drawn):
        if len(rows) == 1 and missing[labels[rows[0]]] < 0:  # a unit has brought too many
            missing[labels[rows[0]]] += 1
        else:
            kept.append(rows)
    return kept, sum(map(abs, missing.values()))


def _allot(labels: Sequence[int], count: int, names: Sequence[str], key: str, leave: int) -> dict[int, int]:
    """Return how many rows to draw of each class. Raises DataError if it is impossible."""
    sizes = {label: len(rows) for label, rows in _group_by(labels).items()}
    rarest = min(sizes, key=lambda label: sizes[label])
    classes = len(sizes)
    if not classes <= count <= len(labels) - leave * classes or sizes[rarest] <= leave:
        raise DataError(
            f"{key}: {count} of {len(labels)} rows cannot be drawn evenly from {classes} classes "
            f"(the rarest, {quote_value(names[rarest])}, has {sizes[rarest]}); "
            "change the number or add rows"
        )
    exact = {label: count * size / len(labels) for label, size in sizes.items()}
    quota = {label: max(1, int(exact[label])) for label in sizes}
    # Rounding leaves a few rows too many or too few. They go, one at a time, to the class whose quota is furthest from
    # its exact share; among equals to the first class, so that the draw does not depend on the order of rows.
    while gap := count - sum(quota.values()):
        step = 1 if gap > 0 else -1
        adjustable = [label for label, size in sizes.items() if 1 <= quota[label] + step <= size - leave]
        quota[max(adjustable, key=lambda label: (step * (exact[label] - quota[label]), -label))] += step
    return quota


def _group_by(keys: Sequence[Key]) -> dict[Key, list[int]]:
    rows: dict[Key, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    return rows
