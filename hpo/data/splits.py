"""Load the train, validation and test splits of a study: cleaned, checked, split off and limited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hpo.data.carving import carve_splits
from hpo.data.class_matching import MatchedClasses, match_classes
from hpo.data.class_names import name_labels
from hpo.data.cleaning import build_cleaner
from hpo.data.notices import describe_loaded_rows, describe_splits
from hpo.data.overlaps import describe_overlaps, drop_leaks
from hpo.data.readers import RawTable
from hpo.data.sources import RawSplits, load_source
from hpo.data.split_columns import OrderValue, name_groups, parse_order
from hpo.data.stratified_draw import draw_rows
from hpo.data.text_comparison import comparison_key, hash_raw_text
from hpo.data.text_validation import check_text_column
from hpo.errors import DataError
from hpo.study.spec_tables import DataSpec


@dataclass(frozen=True)
class Split:
    """Rows ready for a tokenizer."""

    texts: list[str]
    labels: list[int]  # positions in the label names
    ids: list[int]  # row numbers, from 0, in the split as its source has it
    raw_hashes: list[int] = field(default_factory=list)  # of the texts before cleaning; only test has them

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class LoadedSplit:
    """Rows as they are loaded, with what decides in which split they may be."""

    texts: list[str]
    labels: list[int]
    ids: list[int]
    raw_texts: list[str]  # before cleaning
    keys: list[bytes]  # equal for texts that differ only by case, white space and punctuation
    groups: list[str]  # of data.group; empty without that key
    order: list[OrderValue]  # of data.order; empty without that key

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, positions: Sequence[int]) -> LoadedSplit:
        """Return the rows at these positions."""
        columns = {column.name: getattr(self, column.name) for column in fields(self)}
        # A column that the study does not have is empty.
        return replace(self, **{name: [values[p] for p in positions] for name, values in columns.items() if values})

    def to_split(self, with_hashes: bool) -> Split:
        """Return what is trained on or scored."""
        hashes = list(map(hash_raw_text, self.raw_texts)) if with_hashes else []
        return Split(self.texts, self.labels, self.ids, hashes)


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
    loaded, classes = _check_splits(load_source(spec, folder), clean, spec)
    names = classes.names
    loading_notices = [*classes.notices, *describe_loaded_rows(loaded, names)]
    notices = [*carve_splits(loaded, names, spec), *_limit_rows(loaded, names, spec)]
    notices += [*describe_splits(loaded, names), *describe_overlaps(loaded), *loading_notices]
    splits = {name: split.to_split(with_hashes=name == "test") for name, split in loaded.items()}
    fingerprint = _compute_fingerprint(splits, names)
    return TextData(splits["train"], splits["validation"], splits.get("test"), names, tuple(notices), fingerprint)


# --- checks -----------------------------------------------------------------------------------------------------------


def _check_splits(
    raw_splits: RawSplits, clean: Callable[[str], str], spec: DataSpec
) -> tuple[dict[str, LoadedSplit], MatchedClasses]:
    """Return splits of cleaned texts and label positions, and the classes; the train split defines the classes."""
    classes = match_classes({split: [name_labels(table) for table in tables] for split, tables in raw_splits.items()})
    orders = iter(parse_order([table for tables in raw_splits.values() for table in tables]) if spec.order else ())
    splits = {}
    for split, tables in raw_splits.items():
        raw_texts = [text for table in tables for text in check_text_column(table.texts, table.where)]
        texts = [text for table in tables for text in _clean_texts(table, clean)]
        splits[split] = LoadedSplit(
            texts,
            classes.labels[split],
            list(range(len(texts))),
            raw_texts,
            keys=list(map(comparison_key, texts)),
            groups=[group for table in tables for group in name_groups(table)] if spec.group else [],
            order=[value for _ in tables for value in next(orders)] if spec.order else [],
        )
    return splits, classes


def _clean_texts(table: RawTable, clean: Callable[[str], str]) -> list[str]:
    return check_text_column([clean(text) for text in table.texts], table.where, " after cleaning")


# --- row limits -------------------------------------------------------------------------------------------------------


def _limit_rows(splits: dict[str, LoadedSplit], names: Sequence[str], spec: DataSpec) -> list[str]:
    """Drop leaks, if the study says so, and cut each split to its row limit; return notices.

    Test comes first and train last: leaks are rows that stand in what later splits keep, and a limit is met exactly
    only if it is applied after leaks are dropped.
    """
    notices = []
    for name in ("test", "validation", "train"):
        if name not in splits:
            continue
        if spec.drop_leaks:
            notices += drop_leaks(splits, name, names)
        limit = spec.rows.get(name)
        if limit is not None and limit < len(splits[name]):
            drawn = draw_rows(splits[name].labels, limit, names, f"data.rows.{name}", seed=spec.seed)
            splits[name] = splits[name].select(drawn)
    return notices


# --- fingerprint ------------------------------------------------------------------------------------------------------


def _compute_fingerprint(splits: dict[str, Split], names: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps(names).encode())
    for name in sorted(splits):
        digest.update(json.dumps([name, splits[name].texts, splits[name].labels]).encode())
    return digest.hexdigest()[:16]
