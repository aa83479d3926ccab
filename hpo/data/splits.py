"""Load the train, validation and test splits of a study: cleaned, checked, split off and limited."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.data.cleaning import build_cleaner
from hpo.data.readers import RawSplit
from hpo.data.sources import RawSplits, load_source
from hpo.data.text_validation import check_text_column, empty_rows_error, is_empty
from hpo.errors import DataError
from hpo.study.spec import DataSpec

IMBALANCE_RATIO = 3  # a notice is given if the largest class has more than this many times the rows of the smallest


@dataclass(frozen=True)
class Split:
    """Rows ready for a tokenizer."""

    texts: list[str]
    labels: list[int]  # positions in the label names
    ids: list[int]  # row numbers, from 0, in the split as its source has it

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, positions: Sequence[int]) -> Split:
        """Return the rows at these positions."""
        texts, labels, ids = self.texts, self.labels, self.ids
        return Split([texts[p] for p in positions], [labels[p] for p in positions], [ids[p] for p in positions])


@dataclass(frozen=True)
class TextData:
    """The splits of a study, its label names, notices for the user, and a fingerprint of all rows."""

    train: Split
    validation: Split
    test: Split | None
    label_names: tuple[str, ...]
    notices: tuple[str, ...]
    fingerprint: str

    def splits(self) -> dict[str, Split]:
        """Return the splits that exist, by name."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    def rows(self) -> dict[str, int]:
        """Return the number of rows in each split that exists."""
        return {name: len(split) for name, split in self.splits().items()}

    def about(self) -> dict[str, Any]:
        """Return what a store keeps of the data: the fields of DataSummary without notices, as JSON values."""
        return {"fingerprint": self.fingerprint, "rows": self.rows(), "labels": list(self.label_names)}


def load_splits(spec: DataSpec, folder: Path) -> TextData:
    """Load, clean, check, split and limit the rows of a study.

    Relative paths start at `folder`. Raises DataError, in one line, for data that cannot be trained on.
    """
    try:
        clean = build_cleaner(spec.clean)
    except ValueError as error:
        raise DataError(f"data.clean: {error}") from None
    raw_splits = load_source(spec, folder)
    splits, names = _check_splits(raw_splits, clean)
    _split_off(splits, names, spec)
    notices = _limit_rows(splits, names, spec) + _collect_notices(splits, names)
    fingerprint = _compute_fingerprint(splits, names)
    return TextData(splits["train"], splits["validation"], splits.get("test"), names, tuple(notices), fingerprint)


# --- checks -----------------------------------------------------------------------------------------------------------


def _check_splits(raw_splits: RawSplits, clean: Callable[[str], str]) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Return splits of cleaned texts and label positions, and the label names; the train split defines the labels."""
    labels = {split: _check_labels(raw) for split, raw in raw_splits.items()}
    train = raw_splits["train"]
    positions, names = _find_classes(train, labels["train"])
    label_type = type(labels["train"][0])  # compared too, because True == 1 would be taken for the label 1
    splits = {}
    for split, raw in raw_splits.items():
        unknown = [
            row for row, label in enumerate(labels[split]) if label not in positions or type(label) is not label_type
        ]
        if unknown:
            count = f"{len(unknown)} rows have a label" if len(unknown) > 1 else "1 row has a label"
            raise DataError(
                f"{raw.where}: {count} that {train.where} lacks, first {labels[split][unknown[0]]!r} in row "
                f"{unknown[0] + 1}; the labels of train are {_format_classes(positions)}"
            )
        texts = _clean_texts(raw, clean)
        splits[split] = Split(texts, [positions[label] for label in labels[split]], list(range(len(texts))))
    return splits, names


def _check_labels(raw: RawSplit) -> list[Any]:
    """Return the labels, which must be all ints, all bools or all strings. Raises DataError otherwise."""
    if not raw.labels:
        raise DataError(f"{raw.where}: no rows; expected at least one per class")
    if empty_rows := [row for row, label in enumerate(raw.labels) if is_empty(label)]:
        raise empty_rows_error(raw.where, "label", empty_rows)
    # pandas reads ints as floats if a label of the same file is null, and parquet files have floats of their own.
    labels = [int(label) if isinstance(label, float) and label.is_integer() else label for label in raw.labels]
    first_rows = {type(label): row for row, label in reversed(list(enumerate(labels)))}
    for label_type, row in first_rows.items():
        if label_type not in (int, bool, str):
            raise DataError(
                f"{raw.where}: label {labels[row]!r} in row {row + 1} is of type {label_type.__name__}; "
                "use integers or strings"
            )
    if len(first_rows) > 1:
        examples = ", ".join(f"{labels[row]!r} in row {row + 1}" for row in sorted(first_rows.values()))
        raise DataError(f"{raw.where}: labels are of mixed types: {examples}; use integers or strings, not both")
    return labels


def _find_classes(train: RawSplit, labels: list[Any]) -> tuple[dict[Any, int], tuple[str, ...]]:
    """Return label -> position and the names by position: in the order of the source if it has one, else sorted."""
    existing = set(labels)
    if train.class_names is None:
        ordered = sorted(existing)
        names = tuple(map(str, ordered))
    else:
        names = train.class_names
        ordered = list(names) if isinstance(labels[0], str) else list(range(len(names)))
    if unknown := existing - set(ordered):
        raise DataError(
            f"{train.where}: label {min(unknown)!r} is none of the classes {_format_classes(ordered)}; "
            "choose a split that has labels"
        )
    if len(existing) == 1:
        raise DataError(f"{train.where}: all {len(labels)} labels are {labels[0]!r}; classification needs two classes")
    missing = [name for name, label in zip(names, ordered, strict=True) if label not in existing]
    if missing:
        raise DataError(f"{train.where}: class {missing[0]!r} has no row in train; remove the class or add rows")
    return {label: position for position, label in enumerate(ordered)}, names


def _clean_texts(raw: RawSplit, clean: Callable[[str], str]) -> list[str]:
    texts = check_text_column(raw.texts, raw.where)
    return check_text_column([clean(text) for text in texts], raw.where, " after cleaning")


def _format_classes(classes: Collection[Any], limit: int = 12) -> str:
    return ", ".join(map(repr, list(classes)[:limit])) + (", ..." if len(classes) > limit else "")


# --- splitting and row limits -----------------------------------------------------------------------------------------


def _split_off(splits: dict[str, Split], names: Sequence[str], spec: DataSpec) -> None:
    """Move a number or share of train's rows to validation and test, if the study sets one."""
    rows_before = len(splits["train"])
    for split in ("test", "validation"):
        amount = getattr(spec, split)
        if isinstance(amount, int | float):
            count = amount if isinstance(amount, int) else max(1, round(amount * rows_before))
            train = splits["train"]
            drawn = _draw_stratified(train, count, names, f"data.{split}", seed=spec.seed, leave=1)
            splits[split] = train.select(drawn)
            splits["train"] = train.select(sorted(set(range(len(train))) - set(drawn)))


def _limit_rows(splits: dict[str, Split], names: Sequence[str], spec: DataSpec) -> list[str]:
    """Cut each split to its row limit and drop leaks from train, if the study says so; return notices.

    Train comes last: leaks are texts of the rows that the other splits keep, and train's limit is met exactly only if
    it is applied after leaks are dropped.
    """
    notices = []
    for split in [*(name for name in splits if name != "train"), "train"]:
        if split == "train" and spec.drop_leaks:
            notices += _drop_leaks(splits, names)
        limit = spec.rows.get(split)  # type: ignore[call-overload]
        if limit is not None and limit < len(splits[split]):
            drawn = _draw_stratified(splits[split], limit, names, f"data.rows.{split}", seed=spec.seed)
            splits[split] = splits[split].select(drawn)
    return notices


def _draw_stratified(
    split: Split, count: int, names: Sequence[str], key: str, *, seed: int, leave: int = 0
) -> list[int]:
    """Return `count` random positions in rising order, with each class by its share of the split and at least once.

    At least `leave` rows of each class are not drawn. Raises DataError, naming `key`, if that is impossible.
    """
    rows_by_label: dict[int, list[int]] = defaultdict(list)
    for row, label in enumerate(split.labels):
        rows_by_label[label].append(row)
    rarest = min(rows_by_label, key=lambda label: len(rows_by_label[label]))
    classes = len(rows_by_label)
    if not classes <= count <= len(split) - leave * classes or len(rows_by_label[rarest]) <= leave:
        raise DataError(
            f"{key}: {count} of {len(split)} rows cannot be drawn evenly from {classes} classes "
            f"(the rarest, {names[rarest]!r}, has {len(rows_by_label[rarest])}); change the number or add rows"
        )
    exact = {label: count * len(rows) / len(split) for label, rows in rows_by_label.items()}
    quota = {label: max(1, int(exact[label])) for label in rows_by_label}
    # Rounding leaves a few rows too many or too few. They go, one at a time, to the class whose quota is furthest from
    # its exact share; among equals to the first class, so that the draw does not depend on the order of rows.
    while gap := count - sum(quota.values()):
        step = 1 if gap > 0 else -1
        adjustable = [label for label, rows in rows_by_label.items() if 1 <= quota[label] + step <= len(rows) - leave]
        quota[max(adjustable, key=lambda label: (step * (exact[label] - quota[label]), -label))] += step
    draw = random.Random(f"{seed} {key}")
    return sorted(row for label in sorted(rows_by_label) for row in draw.sample(rows_by_label[label], quota[label]))


def _drop_leaks(splits: dict[str, Split], names: Sequence[str]) -> list[str]:
    train = splits["train"]
    held_out = {text for split, rows in splits.items() if split != "train" for text in rows.texts}
    kept = [row for row, text in enumerate(train.texts) if text not in held_out]
    if len(kept) == len(train):
        return []
    splits["train"] = train.select(kept)
    if emptied := set(train.labels) - set(splits["train"].labels):
        raise DataError(
            f"data.drop_leaks: leaves train without a row of class {names[min(emptied)]!r}; add rows or set it to false"
        )
    count = f"{len(train) - len(kept):,} of {len(train):,}"
    return [f"train: drop_leaks removed {count} rows, because their texts also occur in validation or test"]


# --- notices and fingerprint ------------------------------------------------------------------------------------------


def _collect_notices(splits: dict[str, Split], names: Sequence[str]) -> list[str]:
    """Return a sentence each on repeated texts, missing classes, leaks and imbalance."""
    train = splits["train"]
    train_texts = set(train.texts)
    notices = []
    if repeated := len(train) - len(train_texts):
        notices.append(f"train: {repeated:,} of {len(train):,} texts are repeats of another")
    for name, split in splits.items():
        leaked = sum(text in train_texts for text in split.texts) if name != "train" else 0
        if missing := set(train.labels) - set(split.labels):
            notices.append(f"{name}: no row of class {names[min(missing)]!r}, so its scores do not cover that class")
        if leaked:
            notices.append(
                f"{name}: {leaked:,} of {len(split):,} texts also occur in train; "
                "data.drop_leaks = true removes them from train"
            )
    counts = Counter(train.labels).most_common()
    (largest, many), (smallest, few) = counts[0], counts[-1]
    if many > IMBALANCE_RATIO * few:
        notices.append(
            f"train: classes are imbalanced: {many:,} rows of {names[largest]!r}, {few:,} of {names[smallest]!r}, "
            f"{many / few:.1f} times as many"
        )
    return notices


def _compute_fingerprint(splits: dict[str, Split], names: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps(names).encode())
    for name in sorted(splits):
        digest.update(json.dumps([name, splits[name].texts, splits[name].labels]).encode())
    return digest.hexdigest()[:16]
