"""Load the rows of each split from where they are: SOURCES has the built-in corpus, files, a folder and the hub."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hpo.data.builtin_corpus import LABEL_NAMES, generate_reviews
from hpo.data.class_folders import find_class_folders, is_leftover, is_text_file, read_class_folders
from hpo.data.columns import Columns, columns_of
from hpo.data.dataset_tables import (
    has_saved_splits,
    is_saved_dataset,
    load_saved_splits,
    read_dataset,
)
from hpo.data.readers import READERS, RawTable, describe_reason, read_files, table_suffixes
from hpo.errors import DataError, unknown_name
from hpo.paths import expand_path
from hpo.study.spec_tables import DataSpec

SPLIT_NAMES = ("train", "validation", "test")
DEFAULT_BUILTIN_ROWS = 4000  # train and validation together
DEFAULT_BUILTIN_TEST_ROWS = 2000

RawSplits = dict[str, list[RawTable]]  # each split may come from several files
Rows = TypeVar("Rows")


class SplitRequest(NamedTuple):
    """A split that a study wants from its source."""

    name: str  # in the source
    is_required: bool  # False for a test split that the study does not name: it is used if there is one


def load_source(spec: DataSpec, folder: Path) -> RawSplits:
    """Load the rows of each split: always train, and validation and test if the source has them.

    The first source that recognizes the study's `data` table is used. Raises DataError for data that do not exist or
    cannot be read.
    """
    for load in SOURCES.values():
        if (splits := load(spec, folder)) is not None:
            return splits
    raise DataError(f"data.source is {spec.source!r}; expected a hub id, a folder, a file or a built-in corpus")


# --- built-in ---------------------------------------------------------------------------------------------------------


def _load_builtin(spec: DataSpec, folder: Path) -> RawSplits | None:
    if spec.source is None or not spec.source.startswith("builtin:"):
        return None
    if spec.source != "builtin:reviews":
        raise DataError(f"data.source {spec.source} {unknown_name(spec.source, ['builtin:reviews'])}")
    columns_of(spec).refuse_split_columns(spec.source)
    sizes = {"train": _count_builtin_rows(spec)}
    if spec.test is None or isinstance(spec.test, str):
        sizes["test"] = spec.rows.get("test", DEFAULT_BUILTIN_TEST_ROWS)
    splits = {}
    # Even seeds for train and odd ones for test: their reviews are disjoint, see generate_reviews.
    for parity, (split, rows) in enumerate(sizes.items()):
        texts, labels = generate_reviews(rows, 2 * spec.seed + parity)
        splits[split] = [RawTable(f"builtin:reviews {split}", texts, labels, LABEL_NAMES)]
    return _select_splits(splits, spec)


def _count_builtin_rows(spec: DataSpec) -> int:
    """Return how many train rows to generate so that every row limit is met after other splits are split off."""
    amounts = {split: getattr(spec, split) for split in ("validation", "test")}
    shares = {split: amount for split, amount in amounts.items() if isinstance(amount, float)}
    counts = sum(amount for amount in amounts.values() if isinstance(amount, int))
    needed = [math.ceil(spec.rows[split] / share) for split, share in shares.items() if split in spec.rows]
    if "train" in spec.rows:
        remaining_share = max(1 - sum(shares.values()), 0.01)  # load_splits refuses shares that leave nothing
        # One row more, because the rows of a share are rounded.
        needed.append(math.ceil((spec.rows["train"] + counts) / remaining_share) + 1)
    return max(needed) if "train" in spec.rows else max([DEFAULT_BUILTIN_ROWS, *needed])


# --- files ------------------------------------------------------------------------------------------------------------


def _load_files(spec: DataSpec, folder: Path) -> RawSplits | None:
    """Load `train`, `validation` and `test` from files; `source` can be the file of `train`."""
    patterns = {split: getattr(spec, split) for split in SPLIT_NAMES}
    if spec.source is not None:
        if not (folder / expand_path(spec.source)).is_file() and not set("*?[") & set(spec.source):
            return None
        if spec.train is not None:
            raise DataError(f"data.source is the file {spec.source} and data.train is set too; leave one out")
        patterns["train"] = spec.source
    elif _names_folder_of_splits(spec, folder):
        return _load_folder(spec.model_copy(update={"source": spec.train, "train": None}), folder)
    columns = columns_of(spec)
    return {
        split: _read_paths(
            _expand_globs([paths] if isinstance(paths, str) else paths, folder, f"data.{split}"), columns
        )
        for split, paths in patterns.items()
        if isinstance(paths, str | list)
    }


def _names_folder_of_splits(spec: DataSpec, folder: Path) -> bool:
    """Whether `train` names a folder with several splits, which is what `source` is for, and no other file is named."""
    if not isinstance(spec.train, str) or isinstance(spec.validation, str | list) or isinstance(spec.test, str | list):
        return False
    path = folder / expand_path(spec.train)
    return path.is_dir() and (
        has_saved_splits(path) or (path / "train").is_dir() or bool(_find_split_files(path, "train"))
    )


def _read_paths(paths: Iterable[Path], columns: Columns) -> list[RawTable]:
    """Read files, and folders that are one split: with a folder per class, or written by `Dataset.save_to_disk`."""
    tables = []
    for path in paths:
        if not path.is_dir():
            tables += read_files([path], columns)
        elif has_saved_splits(path):
            raise DataError(f"{path}: is a folder with several splits; name it as data.source")
        elif is_saved_dataset(path):
            tables.append(read_dataset(load_saved_splits(path)["train"], str(path), columns))
        else:
            tables.append(read_class_folders(path, columns))
    return tables


def _expand_globs(patterns: Iterable[str], folder: Path, key: str) -> list[Path]:
    files: list[Path] = []
    for pattern in patterns:
        path = folder / expand_path(pattern)
        # A file is tried first, because names such as "held[1].csv" look like a glob. So may the name of the folder.
        names = [] if path.exists() else glob(str(expand_path(pattern)), root_dir=folder, recursive=True)
        matches = [path] if path.exists() else sorted(folder / name for name in names)
        # What a pattern names literally is meant, such as the folder .data in .data/*.csv.
        kept = [match for match in matches if not any(map(is_leftover, set(match.parts) - set(path.parts)))]
        if not kept:
            raise DataError(f"{path}: no such file ({key})")
        files += kept
    return files


# --- folder -----------------------------------------------------------------------------------------------------------


def _load_folder(spec: DataSpec, folder: Path) -> RawSplits | None:
    """Load the splits of a folder.

    It has the layout `split/label/*.txt` of aclImdb, files named after the splits, such as `train.csv`, a folder per
    class, which then is the train split, or what `save_to_disk` of `datasets` wrote.
    """
    root = folder / expand_path(spec.source or "")
    if spec.source is None or not root.is_dir():
        return None
    columns = columns_of(spec)
    if is_saved_dataset(root):
        saved = _select_splits(load_saved_splits(root), spec)
        return {split: [read_dataset(rows, f"{root} {split}", columns)] for split, rows in saved.items()}
    requests = _requested_splits(spec)
    splits = {}
    for split, (name, is_required) in requests.items():
        if (root / name).is_dir():
            splits[split] = _read_paths([root / name], columns)
        elif files := _find_split_files(root, name):
            splits[split] = read_files(files, columns)
        elif split == "train" and spec.train is None and find_class_folders(root):
            other_splits = [request.name for request in requests.values()]
            splits[split] = [read_class_folders(root, columns, excluded=other_splits)]
        elif is_required:
            raise DataError(f"{root}: no folder {name}/ and no {name}{', '.join(table_suffixes())} (data.{split})")
    if "validation" not in requests and (unused := _find_split_files(root, "validation")):
        splits["train"][0].notices.append(
            f"{unused[0]} is not used, because data.validation splits rows off train; "
            'set data.validation = "validation" to use it'
        )
    return splits


def _find_split_files(root: Path, name: str) -> list[Path]:
    """Return `train.csv`, or shards such as `train-00000-of-00002.parquet`, all of one format."""
    files = sorted(file for file in root.iterdir() if is_text_file(file))
    candidates = []
    for suffix in table_suffixes():
        matching = [file for file in files if file.suffix.lower() == suffix]
        whole = [file for file in matching if file.stem == name]
        shards = [file for file in matching if file.stem.startswith(f"{name}-")]
        candidates += [group for group in (whole, shards) if group]
    if len(candidates) > 1:
        raise DataError(
            f"{root}: both {candidates[0][0].name} and {candidates[1][0].name}; name one as data.train, data.test"
        )
    return candidates[0] if candidates else []


# --- hub --------------------------------------------------------------------------------------------------------------


def _load_hub(spec: DataSpec, folder: Path) -> RawSplits | None:
    """Load a data set of the Hugging Face hub with the `datasets` library and its cache."""
    assert spec.source is not None  # without a source, _load_files has returned the splits
    _refuse_path(spec.source, folder)
    from datasets import load_dataset

    try:
        dataset = load_dataset(spec.source, spec.config, revision=spec.revision)
    except Exception as error:  # the library passes on whatever its transport, cache and parsers raise
        reason = describe_reason(error)
        raise DataError(
            f"data.source {spec.source!r}: no such folder, and it cannot be loaded from the hub: {reason}"
        ) from None
    columns = columns_of(spec)
    return {
        split: [read_dataset(rows, f"{spec.source} {split}", columns)]
        for split, rows in _select_splits(dataset, spec).items()
    }


def is_path(source: str) -> bool:
    """Whether a source can only be a path: a hub id is `name` or `owner/name`."""
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).suffix in READERS


def _refuse_path(source: str, folder: Path) -> None:
    """Raise DataError for a source that is a path."""
    if is_path(source):
        raise DataError(f"{folder / expand_path(source)}: no such file or folder (data.source)")


def _requested_splits(spec: DataSpec) -> dict[str, SplitRequest]:
    """Return the splits that the study takes from its source, under the study's own names."""
    names: dict[str, Any] = {"train": spec.train or "train"}
    if isinstance(spec.validation, str | list):
        names["validation"] = spec.validation
    if spec.test is None or isinstance(spec.test, str | list):
        names["test"] = spec.test or "test"
    for split, name in names.items():
        if not isinstance(name, str):
            raise DataError(f"data.{split} is a list of files; with data.source, expected the name of one split")
    return {split: SplitRequest(name, split != "test" or spec.test is not None) for split, name in names.items()}


def _select_splits(splits: Mapping[str, Rows], spec: DataSpec) -> dict[str, Rows]:
    """Return the requested splits of a source, under the study's own names."""
    selected = {}
    for split, (name, is_required) in _requested_splits(spec).items():
        if name in splits:
            selected[split] = splits[name]
        elif is_required:
            raise DataError(f"{spec.source}: split {name!r} (data.{split}) {unknown_name(name, splits)}")
    return selected


# The order matters: each source returns None if `data` does not mean it, and the hub takes everything that is left.
SOURCES: dict[str, Callable[[DataSpec, Path], RawSplits | None]] = {
    "built-in": _load_builtin,
    "files": _load_files,
    "folder": _load_folder,
    "hub": _load_hub,
}
