"""Load the train, validation and test splits of a study: cleaned, checked, split off and limited."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.data.class_matching import MatchedClasses, match_classes
from hpo.data.class_names import name_labels
from hpo.data.cleaning import build_cleaner
from hpo.data.notices import describe_loaded_rows, describe_splits
from hpo.data.readers import RawTable
from hpo.data.sources import RawSplits, load_source
from hpo.data.text_validation import check_text_column
from hpo.errors import DataError, quote_value
from hpo.study.spec_tables import DataSpec


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
    splits, classes = _check_splits(raw_splits, clean)
    names = classes.names
    loading_notices = [*classes.notices, *describe_loaded_rows(splits, names)]
    _split_off(splits, names, spec)
    notices = [*_limit_rows(splits, names, spec), *describe_splits(splits, names), *loading_notices]
    fingerprint = _compute_fingerprint(splits, names)
    return TextData(splits["train"], splits["validation"], splits.get("test"), names, tuple(notices), fingerprint)


# --- checks -----------------------------------------------------------------------------------------------------------


def _check_splits(raw_splits: RawSplits, clean: Callable[[str], str]) -> tuple[dict[str, Split], MatchedClasses]:
    """Return splits of cleaned texts and label positions, and the classes; the train split defines the classes."""
    classes = match_classes({split: [name_labels(table) for table in tables] for split, tables in raw_splits.items()})
    splits = {}
    for split, tables in raw_splits.items():
        texts = [text for table in tables for text in _clean_texts(table, clean)]
        splits[split] = Split(texts, classes.labels[split], list(range(len(texts))))
    return splits, classes


def _clean_texts(table: RawTable, clean: Callable[[str], str]) -> list[str]:
    texts = check_text_column(table.texts, table.where)
    return check_text_column([clean(text) for text in texts], table.where, " after cleaning")


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
            f"(the rarest, {quote_value(names[rarest])}, has {len(rows_by_label[rarest])}); "
            "change the number or add rows"
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
            f"data.drop_leaks: leaves train without a row of class {quote_value(names[min(emptied)])}; "
            "add rows or set it to false"
        )
    count = f"{len(train) - len(kept):,} of {len(train):,}"
    return [f"train: drop_leaks removed {count} rows, because their texts also occur in validation or test"]


# --- fingerprint ------------------------------------------------------------------------------------------------------


def _compute_fingerprint(splits: dict[str, Split], names: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps(names).encode())
    for name in sorted(splits):
        digest.update(json.dumps([name, splits[name].texts, splits[name].labels]).encode())
    return digest.hexdigest()[:16]
