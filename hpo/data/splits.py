"""SOURCES: hub id, folder, file, built-in -> train / validation / test and label names."""

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
from hpo.data.sources import SOURCES, RawSplits, load_source
from hpo.errors import DataError
from hpo.study.spec import DataSpec

__all__ = ["SOURCES", "Split", "TextData", "load_splits"]

IMBALANCE_RATIO = 3  # times as many rows in the largest class as in the smallest: from here on it is told


@dataclass(frozen=True)
class Split:
    """Rows ready for a tokenizer: `ids` are row numbers, from 0, in the split as it was given."""

    texts: list[str]
    labels: list[int]  # positions in the label names
    ids: list[int]

    def __len__(self) -> int:
        return len(self.texts)

    def at(self, rows: Sequence[int]) -> Split:
        """The rows at these positions."""
        return Split([self.texts[r] for r in rows], [self.labels[r] for r in rows], [self.ids[r] for r in rows])


@dataclass(frozen=True)
class TextData:
    """The splits of a study, its label names, what the user should be told, and a fingerprint of all rows."""

    train: Split
    validation: Split
    test: Split | None
    label_names: tuple[str, ...]
    notices: tuple[str, ...]
    fingerprint: str

    def splits(self) -> dict[str, Split]:
        """The splits that there are, by name."""
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in given.items() if split is not None}

    def rows(self) -> dict[str, int]:
        """The number of rows in each split that there is."""
        return {name: len(split) for name, split in self.splits().items()}

    def about(self) -> dict[str, Any]:
        """What a store keeps of the data."""
        return {"fingerprint": self.fingerprint, "rows": self.rows(), "labels": list(self.label_names)}


def load_splits(spec: DataSpec, folder: Path) -> TextData:
    """The rows that a study trains and tests on, cleaned, checked, carved and limited.

    Relative paths start at the folder. Raises DataError for what cannot be trained on, in one line.
    """
    try:
        clean = build_cleaner(spec.clean)
    except ValueError as error:
        raise DataError(f"data.clean: {error}") from None
    raws = load_source(spec, folder)
    splits, names = _checked(raws, clean)
    _carve(splits, names, spec)
    notices = _limit(splits, names, spec)
    notices += _notices(splits, names)
    print_of_all = _fingerprint(splits, names)
    return TextData(splits["train"], splits["validation"], splits.get("test"), names, tuple(notices), print_of_all)


# --- checked ----------------------------------------------------------------------------------------------------------


def _checked(raws: RawSplits, clean: Callable[[str], str]) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Splits of clean texts and label positions, and the names of those; train says which labels there are."""
    labels = {split: _typed_labels(raw) for split, raw in raws.items()}
    classes, names = _classes(raws["train"], labels["train"])
    kind = type(labels["train"][0])  # True would pass for 1
    splits = {}
    for split, raw in raws.items():
        strange = [row for row, label in enumerate(labels[split]) if label not in classes or type(label) is not kind]
        if strange:
            shown = f"{len(strange)} rows have a label" if len(strange) > 1 else "1 row has a label"
            raise DataError(
                f"{raw.where}: {shown} that {raws['train'].where} lacks, "
                f"first {labels[split][strange[0]]!r} in row {strange[0] + 1}; train has {_listed(classes)}"
            )
        texts = _texts(raw, clean)
        splits[split] = Split(texts, [classes[label] for label in labels[split]], list(range(len(texts))))
    return splits, names


def _typed_labels(raw: RawSplit) -> list[Any]:
    """The labels, all ints, all bools or all strings. Raises DataError otherwise."""
    if not raw.labels:
        raise DataError(f"{raw.where}: no rows")
    _refuse(
        raw.where,
        "label",
        [row for row, label in enumerate(raw.labels) if label is None or label != label or str(label).strip() == ""],
    )
    # A null among ints makes pandas read all of a file's labels as floats, which other files need not share.
    labels = [int(label) if isinstance(label, float) and label.is_integer() else label for label in raw.labels]
    types = {type(label): row for row, label in reversed(list(enumerate(labels)))}  # type -> its first row
    for kind, row in types.items():
        if kind not in (int, bool, str):
            raise DataError(
                f"{raw.where}: label {labels[row]!r} in row {row + 1} is a {kind.__name__}; use ints or strings"
            )
    if len(types) > 1:
        shown = ", ".join(f"{labels[row]!r} in row {row + 1}" for row in sorted(types.values()))
        raise DataError(f"{raw.where}: labels are of mixed types: {shown}; use ints or strings, not both")
    return labels


def _classes(train: RawSplit, labels: list[Any]) -> tuple[dict[Any, int], tuple[str, ...]]:
    """label -> its position, and the names by position: the source's own order, or sorted."""
    found = set(labels)
    if train.names is None:
        ordered = sorted(found)
        names = tuple(map(str, ordered))
    else:
        names = train.names
        ordered = list(names) if isinstance(labels[0], str) else list(range(len(names)))
    if beyond := found - set(ordered):
        raise DataError(
            f"{train.where}: label {min(beyond)!r} is none of the classes {_listed(ordered)}; has it labels?"
        )
    if len(found) == 1:
        raise DataError(f"{train.where}: all {len(labels)} labels are {labels[0]!r}; classification needs two classes")
    missing = [name for name, label in zip(names, ordered, strict=True) if label not in found]
    if missing:
        raise DataError(f"{train.where}: class {missing[0]!r} has no row in train; remove the class or add rows")
    return {label: position for position, label in enumerate(ordered)}, names


def _texts(raw: RawSplit, clean: Callable[[str], str]) -> list[str]:
    _refuse(raw.where, "text", [row for row, text in enumerate(raw.texts) if text is None or text == ""])
    for row, text in enumerate(raw.texts):
        if not isinstance(text, str):
            raise DataError(
                f"{raw.where}: text in row {row + 1} is a {type(text).__name__}, {text!r:.40}; expected a string"
            )
    _refuse(raw.where, "text", [row for row, text in enumerate(raw.texts) if not text.strip()])
    for row, text in enumerate(raw.texts):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"{raw.where}: text in row {row + 1} holds half a character; save it as UTF-8") from None
    texts = [clean(text) for text in raw.texts]
    _refuse(raw.where, "text", [row for row, text in enumerate(texts) if not text.strip()], " after cleaning")
    return texts


def _refuse(where: str, what: str, rows: list[int], when: str = "") -> None:
    if rows:
        count = f"{len(rows)} {what}s are" if len(rows) > 1 else f"1 {what} is"
        raise DataError(f"{where}: {count} empty or null{when}, first in row {rows[0] + 1}; fill or remove such rows")


def _listed(classes: Collection[Any], limit: int = 12) -> str:
    return ", ".join(map(repr, list(classes)[:limit])) + (", ..." if len(classes) > limit else "")


# --- carved and limited -----------------------------------------------------------------------------------------------


def _carve(splits: dict[str, Split], names: Sequence[str], spec: DataSpec) -> None:
    """Move a number or share of train's rows to validation and test, where the study says so."""
    whole = len(splits["train"])
    for split in ("test", "validation"):
        amount = getattr(spec, split)
        if isinstance(amount, int | float):
            count = amount if isinstance(amount, int) else max(1, round(amount * whole))
            train = splits["train"]
            taken = _stratified(train, count, names, f"data.{split}", seed=spec.seed, leave=1)
            splits[split] = train.at(taken)
            splits["train"] = train.at(sorted(set(range(len(train))) - set(taken)))


def _limit(splits: dict[str, Split], names: Sequence[str], spec: DataSpec) -> list[str]:
    """Cut each split to its limit, train last and without leaks if so wished, so that its limit is met exactly."""
    notices = []
    for split in sorted(splits, key="train".__eq__):
        if split == "train" and spec.drop_leaks:
            notices += _drop_leaks(splits, names)
        limit = spec.rows.get(split)  # type: ignore[call-overload]
        if limit is not None and limit < len(splits[split]):
            splits[split] = splits[split].at(
                _stratified(splits[split], limit, names, f"data.rows.{split}", seed=spec.seed)
            )
    return notices


def _stratified(split: Split, count: int, names: Sequence[str], key: str, *, seed: int, leave: int = 0) -> list[int]:
    """Positions of `count` rows, rising, each class by its share of the split and at least once.

    At least `leave` rows of each class are not among them. Raises DataError where that cannot be.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for row, label in enumerate(split.labels):
        groups[label].append(row)
    rarest = min(groups, key=lambda label: len(groups[label]))
    if not len(groups) <= count <= len(split) - leave * len(groups) or len(groups[rarest]) <= leave:
        raise DataError(
            f"{key}: {count} of {len(split)} rows cannot be drawn evenly from {len(groups)} classes "
            f"(the rarest, {names[rarest]!r}, has {len(groups[rarest])}); change the number or add rows"
        )
    fair = {label: count * len(rows) / len(split) for label, rows in groups.items()}
    quota = {label: max(1, int(fair[label])) for label in groups}
    while gap := count - sum(quota.values()):  # rounding, a row at a time, where it does the least harm
        step = 1 if gap > 0 else -1
        free = [label for label in groups if 1 <= quota[label] + step <= len(groups[label]) - leave]
        quota[max(free, key=lambda label: (step * (fair[label] - quota[label]), -label))] += step
    draw = random.Random(f"{seed} {key}")
    return sorted(row for label in sorted(groups) for row in draw.sample(groups[label], quota[label]))


def _drop_leaks(splits: dict[str, Split], names: Sequence[str]) -> list[str]:
    train = splits["train"]
    held_out = {text for split, rows in splits.items() if split != "train" for text in rows.texts}
    kept = [row for row, text in enumerate(train.texts) if text not in held_out]
    if len(kept) == len(train):
        return []
    splits["train"] = train.at(kept)
    gone = set(train.labels) - set(splits["train"].labels)
    if gone:
        raise DataError(f"data.drop_leaks: leaves train without a row of class {names[min(gone)]!r}")
    count = f"{len(train) - len(kept):,} of {len(train):,}"
    return [f"train: drop_leaks removed {count} rows: their texts stand in validation or test too"]


# --- told -------------------------------------------------------------------------------------------------------------


def _notices(splits: dict[str, Split], names: Sequence[str]) -> list[str]:
    train = splits["train"]
    known = set(train.texts)
    told = []
    if repeated := len(train) - len(known):
        told.append(f"train: {repeated:,} of {len(train):,} texts are repeats of another")
    for name, split in splits.items():
        leaked = sum(text in known for text in split.texts) if name != "train" else 0
        lacking = set(train.labels) - set(split.labels)
        if lacking:
            told.append(f"{name}: no row of class {names[min(lacking)]!r}, so scores on it say nothing of that class")
        if leaked:
            told.append(
                f"{name}: {leaked:,} of {len(split):,} texts also stand in train; drop_leaks = true removes them there"
            )
    counts = Counter(train.labels).most_common()
    (most, many), (least, few) = counts[0], counts[-1]
    if many > IMBALANCE_RATIO * few:
        told.append(
            f"train: classes are imbalanced: {many:,} rows of {names[most]!r}, {few:,} of {names[least]!r}, "
            f"{many / few:.1f} times as many"
        )
    return told


def _fingerprint(splits: dict[str, Split], names: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps(names).encode())
    for name in sorted(splits):
        digest.update(json.dumps([name, splits[name].texts, splits[name].labels]).encode())
    return digest.hexdigest()[:16]
