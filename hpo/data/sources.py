"""SOURCES: where rows come from -- built-in, files, folder, hub -> rows as given, per split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from glob import escape, glob
from pathlib import Path
from typing import Any, TypeVar

from hpo.data.builtin_corpus import LABEL_NAMES, generate_reviews
from hpo.data.readers import READERS, RawSplit, is_integer_text, read_files, require_columns
from hpo.errors import DataError, unknown_name
from hpo.study.spec import DataSpec

SPLIT_NAMES = ("train", "validation", "test")
Rows = TypeVar("Rows")


RawSplits = dict[str, RawSplit]


def load_source(spec: DataSpec, folder: Path) -> RawSplits:
    """What the first source that knows the spec gives for each split: train always, validation and test if it has them.

    Raises DataError for what is not there or cannot be read.
    """
    for source in SOURCES.values():
        if (splits := source(spec, folder)) is not None:
            return splits
    raise DataError(f"data.source is {spec.source!r}; expected a hub id, a folder, a file or a built-in corpus")


# --- built-in ---------------------------------------------------------------------------------------------------------


def _builtin(spec: DataSpec, folder: Path) -> RawSplits | None:
    if spec.source is None or not spec.source.startswith("builtin:"):
        return None
    if spec.source != "builtin:reviews":
        raise DataError(f"data.source {spec.source} {unknown_name(spec.source, ['builtin:reviews'])}")
    sizes = {"train": _pool(spec)}
    if spec.test is None or isinstance(spec.test, str):
        sizes["test"] = spec.rows.get("test", 2000)
    splits = {}
    for odd, (split, rows) in enumerate(sizes.items()):
        texts, labels = generate_reviews(rows, 2 * spec.seed + odd)
        splits[split] = RawSplit(f"builtin:reviews {split}", texts, labels, LABEL_NAMES)
    return _named(splits, spec)


def _pool(spec: DataSpec) -> int:
    """Rows to make, 4,000 unless `rows` says so, for every limit to be met once the other splits are carved off."""
    amounts = {split: getattr(spec, split) for split in ("validation", "test")}
    shares = {split: amount for split, amount in amounts.items() if isinstance(amount, float)}
    counts = sum(amount for amount in amounts.values() if isinstance(amount, int))
    needed = [math.ceil(spec.rows[split] / share) for split, share in shares.items() if split in spec.rows]
    if "train" in spec.rows:
        left = max(1 - sum(shares.values()), 0.01)  # carving refuses shares that leave nothing
        needed.append(math.ceil((spec.rows["train"] + counts) / left) + 1)  # carved shares are rounded
    return max(needed) if "train" in spec.rows else max([4000, *needed])


# --- files ------------------------------------------------------------------------------------------------------------


def _files(spec: DataSpec, folder: Path) -> RawSplits | None:
    """`train`, `validation` and `test` are files; `source` may stand for `train`."""
    patterns = {split: getattr(spec, split) for split in SPLIT_NAMES}
    if spec.source is not None:
        if not (folder / Path(spec.source).expanduser()).is_file() and not set("*?[") & set(spec.source):
            return None
        if spec.train is not None:
            raise DataError(f"data.source is the file {spec.source}, data.train is given too; leave one out")
        patterns["train"] = spec.source
    return {
        split: read_files(_expanded([paths] if isinstance(paths, str) else paths, folder, f"data.{split}"), spec)
        for split, paths in patterns.items()
        if isinstance(paths, str | list)
    }


def _expanded(patterns: Iterable[str], folder: Path, key: str) -> list[Path]:
    files: list[Path] = []
    for pattern in patterns:
        path = folder / Path(pattern).expanduser()
        found = [path] if path.is_file() else sorted(map(Path, glob(str(path), recursive=True)))
        if not found:
            raise DataError(f"{path}: no such file ({key})")
        files += found
    return files


# --- folder -----------------------------------------------------------------------------------------------------------


def _folder(spec: DataSpec, folder: Path) -> RawSplits | None:
    """`split/label/*.txt`, the layout of aclImdb; or files named after the splits, as `train.csv`."""
    root = folder / Path(spec.source or "").expanduser()
    if spec.source is None or not root.is_dir():
        return None
    splits = {}
    for split, (name, needed) in _wanted(spec).items():
        if (root / name).is_dir():
            splits[split] = _text_files(root / name)
        elif files := _split_files(root, name):
            splits[split] = read_files(files, spec)
        elif needed:
            raise DataError(
                f"{root}: no folder {name}/ and no {name}.csv, .tsv, .json, .jsonl or .parquet (data.{split})"
            )
    return splits


def _text_files(folder: Path) -> RawSplit:
    raw = RawSplit(str(folder))
    for label in sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name != "unsup"):
        for file in sorted((folder / label).glob("*.txt")):
            try:
                raw.texts.append(file.read_text(encoding="utf-8-sig"))
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{file}: cannot be read: {error}") from None
            raw.labels.append(label)
    if all(map(is_integer_text, raw.labels)):
        raw.labels = list(map(int, raw.labels))  # 10 comes after 2
    if not raw.texts:
        raise DataError(f"{folder}: no texts; expected a folder for each label, with .txt files in it")
    return raw


def _split_files(root: Path, name: str) -> list[Path]:
    """`train.csv`, or parts such as `train-00000-of-00002.parquet`, all of one kind."""
    found = {
        suffix: sorted(root.glob(f"{escape(name)}{suffix}")) or sorted(root.glob(f"{escape(name)}-*{suffix}"))
        for suffix in READERS
    }
    kinds = [files for files in found.values() if files]
    if len(kinds) > 1:
        raise DataError(f"{root}: both {kinds[0][0].name} and {kinds[1][0].name}; name one as data.train, data.test")
    return kinds[0] if kinds else []


# --- hub --------------------------------------------------------------------------------------------------------------


def _hub(spec: DataSpec, folder: Path) -> RawSplits | None:
    """A data set of the Hugging Face hub, through its own library and cache."""
    assert spec.source is not None  # _files has taken what has no source
    _refuse_path(spec.source, folder)
    from datasets import load_dataset

    try:
        whole = load_dataset(spec.source, spec.config, revision=spec.revision)
    except Exception as error:  # the library raises what its transport, cache and parsers raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"data.source {spec.source!r}: no such folder, and not from the hub: {reason}") from None
    return {split: _hub_split(rows, f"{spec.source} {split}", spec) for split, rows in _named(whole, spec).items()}


def _hub_split(rows: Any, where: str, spec: DataSpec) -> RawSplit:
    require_columns(spec, rows.column_names, where)
    columns = rows.select_columns([spec.text, spec.label])[:]
    names = getattr(rows.features[spec.label], "names", None)
    return RawSplit(where, columns[spec.text], columns[spec.label], tuple(names) if names else None)


def _refuse_path(source: str, folder: Path) -> None:
    """A hub id is `name` or `owner/name`: anything else was meant as a path."""
    if source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).suffix in READERS:
        raise DataError(f"{folder / Path(source).expanduser()}: no such file or folder (data.source)")


def _wanted(spec: DataSpec) -> dict[str, tuple[str, bool]]:
    """Each split's name in the source, and whether the study cannot do without it."""
    wanted = {"train": (spec.train or "train", True)}
    if isinstance(spec.validation, str | list):
        wanted["validation"] = (spec.validation, True)
    if spec.test is None or isinstance(spec.test, str | list):
        wanted["test"] = (spec.test or "test", spec.test is not None)
    for split, (name, _) in wanted.items():
        if not isinstance(name, str):
            raise DataError(f"data.{split} is a list; beside data.source it names one split")
    return wanted  # type: ignore[return-value]


def _named(splits: Mapping[str, Rows], spec: DataSpec) -> dict[str, Rows]:
    """The splits that the study wants, under the study's own names for them."""
    found = {}
    for split, (name, needed) in _wanted(spec).items():
        if name in splits:
            found[split] = splits[name]
        elif needed:
            raise DataError(f"{spec.source}: split {name!r} (data.{split}) {unknown_name(name, splits)}")
    return found


SOURCES: dict[str, Callable[[DataSpec, Path], RawSplits | None]] = {
    "built-in": _builtin,
    "files": _files,
    "folder": _folder,
    "hub": _hub,
}
