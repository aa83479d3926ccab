"""What a study file must have in common with a stored study for the search to continue.

Identity is about content, not about where files are: moving a project, or naming the same files by another path, does
not end a study. So local data files are left out of it, because the fingerprint of the rows is compared instead (see
`hpo.store.storage.check_same_data`), and a local checkpoint is identified by a fingerprint of its files.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from hpo.paths import expand_path

LOCAL_FILES = "local files"
_DATA_KEYS = ("data.source", "data.train", "data.validation", "data.test")
# How files are read and split; the rows that come of it are compared by their fingerprint.
_READING_KEYS = ("data.separator", "data.quoting", "data.encoding", "data.header", "data.split_equal_texts")
# Keys that version 0.1.0 did not have: without them, an identity is the same as of that version.
_OPTIONAL_KEYS = ("data.group", "data.order")
_CHECKPOINT_KEY = "model.checkpoint"
_BUDGET_KEYS = ("trials", "timeout", "workers", "engine", "stop", "save_every", "saved_trials_disk")
_CHECKPOINT_SUFFIXES = {".json", ".txt", ".model", ".safetensors", ".bin", ".py"}
_BLOCK, _BLOCKS = 65_536, 64  # bytes; of a larger file, 64 blocks spread over it are hashed


def build_identity(resolved: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return `key.path -> value` of everything that changes trials: no budget, no final runs, no trackers, no paths.

    What a report shows does not change them either. `resolved` is `StudySpec.resolved()`; relative paths in it start at
    `folder`.
    """
    training = {
        name: value
        for name, value in resolved["training"].items()
        # Trackers and logging observe a trial without changing it, and "auto" is the default of speed.
        if name != "report_to" and not name.startswith("logging_") and (name, value) != ("speed", "auto")
    }
    search = {name: value for name, value in resolved["search"].items() if name not in _BUDGET_KEYS}
    kept = {name: value for name, value in resolved.items() if name not in ("final", "report")}
    identity = dict(_flatten({**kept, "training": training, "search": search}))
    for key in _READING_KEYS:
        identity.pop(key, None)
    for key in _OPTIONAL_KEYS:
        if identity.get(key) is None:
            identity.pop(key, None)
    has_source = identity["data.source"] is not None
    for key in _DATA_KEYS:
        if _is_local(identity[key], folder, is_file=key != "data.source" and not has_source):
            identity[key] = LOCAL_FILES
    checkpoint = folder / expand_path(identity[_CHECKPOINT_KEY])
    if checkpoint.is_dir():
        identity[_CHECKPOINT_KEY] = f"{checkpoint.resolve().name} [{fingerprint_checkpoint(checkpoint)}]"
    return identity


def find_changes(stored: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two identities differ in content.

    Version 0.1.0 stored paths as they were given; they are compared as far as that is possible without the files.
    """
    return [
        key
        for key in sorted(stored.keys() | current.keys())
        if stored.get(key) != current.get(key)
        and not (key in _DATA_KEYS and _may_be_same_data(stored.get(key), current.get(key)))
        and not (key == _CHECKPOINT_KEY and _may_be_same_checkpoint(str(stored.get(key)), str(current.get(key))))
    ]


def fingerprint_checkpoint(folder: Path) -> str:
    """Return a fingerprint of a local checkpoint's configuration, tokenizer and weights."""
    files = sorted(file for file in folder.iterdir() if file.suffix in _CHECKPOINT_SUFFIXES and file.is_file())
    return _fingerprint_files(tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=8)
def _fingerprint_files(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for file, size, _ in files:
        digest.update(f"{file.name} {size} ".encode())
        with file.open("rb") as content:
            # Hashing all of a 1.3 GB model takes seconds, and every command compares identities. Training changes
            # every weight matrix, so blocks spread over the file tell two models of one architecture apart.
            for index in range(_BLOCKS if size > _BLOCK * _BLOCKS else 1):
                content.seek(index * (size - _BLOCK) // (_BLOCKS - 1) if size > _BLOCK * _BLOCKS else 0)
                digest.update(content.read(_BLOCK if size > _BLOCK * _BLOCKS else -1))
    return f"sha256:{digest.hexdigest()[:16]}"


def _is_local(value: Any, folder: Path, is_file: bool = False) -> bool:
    """Whether a value of the data table names local files; `is_file` if text can be nothing else there."""
    if isinstance(value, list):
        return True
    if not isinstance(value, str) or value.startswith("builtin:"):
        return False
    return is_file or _looks_local(value) or (folder / expand_path(value)).exists()


def _looks_local(value: str) -> bool:
    return value == LOCAL_FILES or value.startswith((".", "~")) or os.path.isabs(value) or bool(set("*?[") & set(value))


def _may_be_same_data(stored: Any, current: Any) -> bool:
    """Whether two values can name the same rows, one of them being local; the fingerprint of the rows decides."""
    values = (stored, current)
    return all(isinstance(value, str | list) for value in values) and any(
        isinstance(value, list) or _looks_local(value) for value in values
    )


def _may_be_same_checkpoint(stored: str, current: str) -> bool:
    """Whether two values can name the same local checkpoint: equal fingerprints, else equal names of the folder.

    Version 0.1.0 stored no fingerprint, and there is none if the folder is gone, which must not prevent a report.
    """
    (name, digest), (current_name, current_digest) = _split_checkpoint(stored), _split_checkpoint(current)
    if digest and current_digest:
        return digest == current_digest
    is_local = bool(digest or current_digest) or _looks_local(stored) or _looks_local(current)
    return is_local and Path(name).name == Path(current_name).name


def _split_checkpoint(value: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.*) \[(sha256:[0-9a-f]+)\]", value)
    return (match[1], match[2]) if match else (value, "")


def _flatten(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in table.items():
        rows += _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [(prefix + key, value)]
    return rows
