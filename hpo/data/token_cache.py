"""Tokenize each split once and keep the token ids in a cache of memory-mapped files, shared by all trials."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from hpo.atomic import atomic_folder
from hpo.data.splits import Split
from hpo.errors import DataError, quote_value
from hpo.paths import expand_path

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LAYOUT_VERSION = 1  # of the files in an entry; part of its key
TOKENIZER_BATCH = 1000  # texts per call of the tokenizer
_PARALLELISM_VARIABLE = "TOKENIZERS_PARALLELISM"


class TokenizedSplit:
    """A map-style data set for torch's DataLoader over the memory-mapped files of one cache entry.

    Items are {"input_ids": int32 array, "labels": int}, unpadded. Pickling keeps only the folder, so that worker
    processes share the pages of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Plain arrays over the mapped files: slicing numpy's memmap takes ten times as long as slicing an array.
        self._ids, self._offsets, self.labels = (
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ("ids", "offsets", "labels")
        )
        self.truncated: int = json.loads((folder / "meta.json").read_text())["truncated"]  # texts cut at max_length

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each text after truncation, with special tokens: int64, shape (texts,)."""
        return np.diff(self._offsets)

    def find_largest_token(self) -> tuple[int, int]:
        """Return the index of the first text that has the largest token id, and that id."""
        position = int(self._ids.argmax())
        return int(np.searchsorted(self._offsets, position, side="right")) - 1, int(self._ids[position])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)  # this also ends `for item in tokens`
        start, end = self._offsets[index : index + 2]
        return {"input_ids": np.array(self._ids[start:end]), "labels": int(self.labels[index])}

    def __reduce__(self) -> tuple[type[TokenizedSplit], tuple[Path]]:
        return TokenizedSplit, (self.folder,)


def tokenize_split(
    split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int, cache: Path | None = None
) -> TokenizedSplit:
    """Return the split's tokens, at most `max_length` per text, from the cache folder if it has an intact entry.

    The default folder is that of the environment variable HPO_CACHE, or else the user's cache. Several processes can
    write the same entry at once. Raises DataError for a text without tokens and for a folder that cannot be written.
    """
    root = cache or default_cache_folder()
    key = hashlib.sha256(
        f"{LAYOUT_VERSION} {_hash_split(split)} {_hash_tokenizer(tokenizer)} {max_length}".encode()
    ).hexdigest()[:32]
    entry = root / key
    if not _is_intact(entry):
        try:
            # Another process may have finished the same entry first. A damaged one is replaced.
            with atomic_folder(entry, may_replace=lambda: not _is_intact(entry)) as folder:
                _write_entry(folder, *_tokenize(split, tokenizer, max_length))
        except OSError as error:
            raise DataError(f"{root}: tokens cannot be cached: {error}; set HPO_CACHE to another folder") from None
    return TokenizedSplit(entry)


def truncation_notice(tokens: TokenizedSplit, max_length: int) -> str | None:
    """Return a sentence on the share of texts that were truncated, or None if none were."""
    if not tokens.truncated:
        return None
    share = tokens.truncated / len(tokens)
    return (
        f"{tokens.truncated:,} of {len(tokens):,} texts ({share:.1%}) are longer than {max_length} tokens and are cut"
    )


# --- key of an entry --------------------------------------------------------------------------------------------------


def default_cache_folder() -> Path:
    """Return the cache folder of the environment variable HPO_CACHE, or else the user's."""
    if folder := os.environ.get("HPO_CACHE"):
        return expand_path(folder) / "tokens"
    from platformdirs import user_cache_path

    return user_cache_path("hpo") / "tokens"


def _hash_split(split: Split) -> str:
    return hashlib.sha256(json.dumps([split.texts, split.labels]).encode()).hexdigest()


def _hash_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash everything that determines the tokens. Truncation and padding are left out: each call sets them."""
    if tokenizer.is_fast:
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        state = {name: part for name, part in state.items() if name not in ("truncation", "padding")}
    else:
        state = {"class": type(tokenizer).__name__, "vocab": tokenizer.get_vocab()}
    content = json.dumps([state, tokenizer.truncation_side], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


# --- tokenization -----------------------------------------------------------------------------------------------------


def _tokenize(split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[dict[str, np.ndarray], int]:
    """Return the arrays of an entry and the number of truncated texts."""
    rows: list[list[int]] = []
    truncated = 0
    with _parallel_tokenizer():
        for start in range(0, len(split.texts), TOKENIZER_BATCH):
            ids, truncated_in_batch = _tokenize_batch(
                split.texts[start : start + TOKENIZER_BATCH], tokenizer, max_length
            )
            rows += ids
            truncated += truncated_in_batch
    lengths = [len(ids) for ids in rows]
    if 0 in lengths:
        index = lengths.index(0)
        raise DataError(
            f"the text of row {split.ids[index] + 1} has no tokens: {quote_value(split.texts[index])}; remove the row"
        )
    arrays: dict[str, np.ndarray] = {
        "ids": np.fromiter((token for ids in rows for token in ids), np.int32, sum(lengths)),
        "offsets": np.cumsum([0, *lengths], dtype=np.int64),
        "labels": np.asarray(split.labels, dtype=np.int64),
    }
    return arrays, truncated


def _tokenize_batch(
    texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[list[int]], int]:
    ids_only = {"return_attention_mask": False, "return_token_type_ids": False}
    encoded = tokenizer(texts, truncation=True, max_length=max_length, **ids_only)
    ids: list[list[int]] = encoded["input_ids"]
    if encoded.encodings is not None:
        return ids, sum(bool(encoding.overflowing) for encoding in encoded.encodings)
    # Slow tokenizers do not report overflow. A text of exactly max_length tokens may be complete, so such texts are
    # tokenized again without truncation.
    candidates = [text for text, tokens in zip(texts, ids, strict=True) if len(tokens) == max_length]
    untruncated = tokenizer(candidates, truncation=False, verbose=False, **ids_only)["input_ids"] if candidates else []
    return ids, sum(len(tokens) > max_length for tokens in untruncated)


@contextmanager
def _parallel_tokenizer() -> Iterator[None]:
    """Let the tokenizer use threads, unless the user has set its environment variable.

    Afterwards threads are off: data-loader workers that are forked later would warn, or hang.
    """
    is_set_by_user = _PARALLELISM_VARIABLE in os.environ
    if not is_set_by_user:
        os.environ[_PARALLELISM_VARIABLE] = "true"
    try:
        yield
    finally:
        if not is_set_by_user:
            os.environ[_PARALLELISM_VARIABLE] = "false"


# --- files of an entry ------------------------------------------------------------------------------------------------


def _write_entry(folder: Path, arrays: dict[str, np.ndarray], truncated: int) -> None:
    """Write the arrays, then their sizes and checksums."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    files = {f"{name}.npy": _checksum(folder / f"{name}.npy") for name in arrays}
    (folder / "meta.json").write_text(json.dumps({"truncated": truncated, "files": files}))


def _is_intact(entry: Path) -> bool:
    """Whether the entry exists, complete and undamaged."""
    try:
        meta = json.loads((entry / "meta.json").read_text())
        return isinstance(meta["truncated"], int) and all(
            _checksum(entry / name) == meta["files"][name] for name in ("ids.npy", "offsets.npy", "labels.npy")
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _checksum(file: Path) -> list[int]:
    """Return the size in bytes and the CRC-32 of a file."""
    content = file.read_bytes()
    return [len(content), crc32(content)]
