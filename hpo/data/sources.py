"""Load the rows of each split from where they are: SOURCES has the built-in corpus, files, a folder and the hub."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from glob import escape, glob
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hpo.data.builtin_corpus import LABEL_NAMES, generate_reviews
from hpo.data.file_formats import Columns, is_integer_text
from hpo.data.readers import READERS, RawSplit, read_files, table_suffixes
from hpo.errors import DataError, unknown_name
from hpo.paths import expand_path
from hpo.study.spec import DataSpec

SPLIT_NAMES = ("train", "validation", "test")
DEFAULT_BUILTIN_ROWS = 4000  # train and validation together
DEFAULT_BUILTIN_TEST_ROWS = 2000

RawSplits = dict[str, RawSplit]
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
    sizes = {"train": _count_builtin_rows(spec)}
    if spec.test is None or isinstance(spec.test, str):
        sizes["test"] = spec.rows.get("test", DEFAULT_BUILTIN_TEST_ROWS)
    splits = {}
    # Even seeds for train and odd ones for test: their reviews are disjoint, see generate_reviews.
    for parity, (split, rows) in enumerate(sizes.items()):
        texts, labels = generate_reviews(rows, 2 * spec.seed + parity)
        splits[split] = RawSplit(f"builtin:reviews {split}", texts, labels, LABEL_NAMES)
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
    columns = Columns(spec.text, spec.label)
    return {
        split: read_files(_expand_globs([paths] if isinstance(paths, str) else paths, folder, f"data.{split}"), columns)
        for split, paths in patterns.items()
        if isinstance(paths, str | list)
    }


def _expand_globs(patterns: Iterable[str], folder: Path, key: str) -> list[Path]:
    files: list[Path] = []
    for pattern in patterns:
        path = folder / expand_path(pattern)
        # A file is tried first, because names such as "held[1].csv" look like a glob. So may the name of the folder.
        names = [] if path.is_file() else glob(str(expand_path(pattern)), root_dir=folder, recursive=True)
        matches = [path] if path.is_file() else sorted(folder / name for name in names)
        if not matches:
            raise DataError(f"{path}: no such file ({key})")
        files += matches
    return files


# --- folder -----------------------------------------------------------------------------------------------------------


def _load_folder(spec: DataSpec, folder: Path) -> RawSplits | None:
    """Load `split/label/*.txt`, the layout of aclImdb, or files named after the splits, such as `train.csv`."""
    root = folder / expand_path(spec.source or "")
    if spec.source is None or not root.is_dir():
        return None
    splits = {}
    for split, (name, is_required) in _requested_splits(spec).items():
        if (root / name).is_dir():
            splits[split] = _read_label_folders(root / name)
        elif files := _find_split_files(root, name):
            splits[split] = read_files(files, Columns(spec.text, spec.label))
        elif is_required:
            raise DataError(f"{root}: no folder {name}/ and no {name}{', '.join(table_suffixes())} (data.{split})")
    return splits


def _read_label_folders(folder: Path) -> RawSplit:
    raw = RawSplit(str(folder))
    # aclImdb keeps its unlabeled reviews in train/unsup.
    for label in sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name != "unsup"):
        for file in sorted((folder / label).glob("*.txt")):
            try:
                raw.texts.append(file.read_text(encoding="utf-8-sig"))
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{file}: cannot be read: {error}") from None
            raw.labels.append(label)
    if all(map(is_integer_text, raw.labels)):
        raw.labels = list(map(int, raw.labels))  # so that class 10 comes after class 2
    if not raw.texts:
        raise DataError(f"{folder}: no texts; expected a folder for each label, with .txt files in it")
    return raw


def _find_split_files(root: Path, name: str) -> list[Path]:
    """Return `train.csv`, or shards such as `train-00000-of-00002.parquet`, all of one format."""
    files_by_suffix = {
        suffix: sorted(root.glob(f"{escape(name)}{suffix}")) or sorted(root.glob(f"{escape(name)}-*{suffix}"))
        for suffix in table_suffixes()
    }
    candidates = [files for files in files_by_suffix.values() if files]
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
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"data.source {spec.source!r}: no such folder, and it cannot be loaded from the hub: {reason}"
        ) from None
    return {
        split: _read_hub_split(rows, f"{spec.source} {split}", spec)
        for split, rows in _select_splits(dataset, spec).items()
    }


def _read_hub_split(rows: Any, where: str, spec: DataSpec) -> RawSplit:
    Columns(spec.text, spec.label).check_present(rows.column_names, where)
    values = rows.select_columns([spec.text, spec.label])[:]
    class_names = getattr(rows.features[spec.label], "names", None)
    return RawSplit(where, values[spec.text], values[spec.label], tuple(class_names) if class_names else None)


def _refuse_path(source: str, folder: Path) -> None:
    """Raise DataError for a source that is a path: a hub id is `name` or `owner/name`."""
    if source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).suffix in READERS:
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
