"""Tokenised once per (data, tokenizer, length); cached, memory-mapped, shared by all trials."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from hpo.data.splits import Split
from hpo.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LAYOUT_VERSION = 1  # of the files in an entry; part of its key
TOKENIZER_BATCH = 1000  # texts given to the tokenizer at once
ABANDONED_SECONDS = 3600  # seconds after which a half-written entry has no writer any more
_PARALLEL = "TOKENIZERS_PARALLELISM"


class TokenizedSplit:
    """A data set for torch's DataLoader over the memory-mapped files of one cache entry.

    Item i is {"input_ids": int32 array of its own length, "labels": int}: unpadded, the collator pads. It pickles as
    its folder, so that worker processes share the pages.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # As plain arrays over the mapped files: a slice of numpy's memmap costs ten times one of an array.
        self._ids, self._offsets, self.labels = (
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ("ids", "offsets", "labels")
        )
        self.truncated: int = json.loads((folder / "meta.json").read_text())["truncated"]  # texts cut at max_length

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each text, special ones included, after truncation: int64, shape (texts,)."""
        return np.diff(self._offsets)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)  # which also ends `for item in tokens`
        start, end = self._offsets[index : index + 2]
        return {"input_ids": np.array(self._ids[start:end]), "labels": int(self.labels[index])}

    def __reduce__(self) -> tuple[type[TokenizedSplit], tuple[Path]]:
        return TokenizedSplit, (self.folder,)


def tokenize_split(
    split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int, cache: Path | None = None
) -> TokenizedSplit:
    """The split's tokens, at most `max_length` a text, from the cache folder where they are there and whole.

    The folder is the user's cache, or that of the environment variable HPO_CACHE. Processes that write the same entry
    at once do no harm. Raises DataError for a text without tokens, or a folder that cannot be written.
    """
    root = cache or _default_cache()
    key = hashlib.sha256(
        f"{LAYOUT_VERSION} {_of_split(split)} {_of_tokenizer(tokenizer)} {max_length}".encode()
    ).hexdigest()[:32]
    entry = root / key
    if not _whole(entry):
        try:
            root.mkdir(parents=True, exist_ok=True)
            _sweep(root, key)
            _publish(_written(_tokenised(split, tokenizer, max_length), root, key), entry)
        except OSError as error:
            raise DataError(f"{root}: tokens cannot be cached: {error}; name another folder in HPO_CACHE") from None
    return TokenizedSplit(entry)


def truncation_notice(tokens: TokenizedSplit, max_length: int) -> str | None:
    """One sentence on the share of texts that were cut, if any were."""
    if not tokens.truncated:
        return None
    share = tokens.truncated / len(tokens)
    return (
        f"{tokens.truncated:,} of {len(tokens):,} texts ({share:.1%}) are longer than {max_length} tokens and are cut"
    )


# --- what an entry is known by ----------------------------------------------------------------------------------------


def _default_cache() -> Path:
    if chosen := os.environ.get("HPO_CACHE"):
        return Path(chosen).expanduser() / "tokens"
    from platformdirs import user_cache_path

    return user_cache_path("hpo") / "tokens"


def _of_split(split: Split) -> str:
    return hashlib.sha256(json.dumps([split.texts, split.labels]).encode()).hexdigest()


def _of_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """What decides on the tokens; not truncation and padding, which each call sets anew."""
    if tokenizer.is_fast:
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        state = {name: part for name, part in state.items() if name not in ("truncation", "padding")}
    else:
        state = {"class": type(tokenizer).__name__, "vocab": tokenizer.get_vocab()}
    whole = json.dumps([state, tokenizer.truncation_side], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


# --- tokenised --------------------------------------------------------------------------------------------------------


def _tokenised(split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[dict[str, np.ndarray], int]:
    """The arrays of an entry, and how many texts were cut."""
    rows: list[list[int]] = []
    truncated = 0
    with _parallel():
        for start in range(0, len(split.texts), TOKENIZER_BATCH):
            ids, cut = _batch(split.texts[start : start + TOKENIZER_BATCH], tokenizer, max_length)
            rows += ids
            truncated += cut
    lengths = [len(ids) for ids in rows]
    if 0 in lengths:
        raise DataError(
            f"the text of row {split.ids[lengths.index(0)] + 1} has no tokens: {split.texts[lengths.index(0)]!r:.60}"
        )
    arrays: dict[str, np.ndarray] = {
        "ids": np.fromiter((token for ids in rows for token in ids), np.int32, sum(lengths)),
        "offsets": np.cumsum([0, *lengths], dtype=np.int64),
        "labels": np.asarray(split.labels, dtype=np.int64),
    }
    return arrays, truncated


def _batch(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[list[list[int]], int]:
    plain = {"return_attention_mask": False, "return_token_type_ids": False}
    cut = tokenizer(texts, truncation=True, max_length=max_length, **plain)
    ids: list[list[int]] = cut["input_ids"]
    if cut.encodings is not None:
        return ids, sum(bool(encoding.overflowing) for encoding in cut.encodings)
    full = [text for text, tokens in zip(texts, ids, strict=True) if len(tokens) == max_length]
    whole = tokenizer(full, truncation=False, verbose=False, **plain)["input_ids"] if full else []
    return ids, sum(len(tokens) > max_length for tokens in whole)


@contextmanager
def _parallel() -> Iterator[None]:
    """Threads for the tokenizer, unless the user decided; off afterwards, as a forked loader would hang or warn."""
    decided = _PARALLEL in os.environ
    if not decided:
        os.environ[_PARALLEL] = "true"
    try:
        yield
    finally:
        if not decided:
            os.environ[_PARALLEL] = "false"


# --- on disk ----------------------------------------------------------------------------------------------------------


def _written(made: tuple[dict[str, np.ndarray], int], root: Path, key: str) -> Path:
    """A folder beside the entry with the arrays, and last of all, their sizes and checksums."""
    arrays, truncated = made
    folder = Path(tempfile.mkdtemp(prefix=f"{key}.", suffix=".part", dir=root))
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    files = {f"{name}.npy": _seal(folder / f"{name}.npy") for name in arrays}
    (folder / "meta.json").write_text(json.dumps({"truncated": truncated, "files": files}))
    return folder


def _publish(folder: Path, entry: Path) -> None:
    """Give the folder the entry's name, unless another process was first."""
    try:
        folder.rename(entry)
    except OSError:  # there is one by this name
        if not _whole(entry):
            entry.rename(folder.with_suffix(".damaged"))
            shutil.rmtree(folder.with_suffix(".damaged"), ignore_errors=True)
            folder.rename(entry)
    shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path, key: str) -> None:
    for left in root.glob(f"{key}.*"):
        with contextlib.suppress(FileNotFoundError):  # another process has just finished it
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _whole(entry: Path) -> bool:
    """Whether the entry is there, complete and undamaged."""
    try:
        meta = json.loads((entry / "meta.json").read_text())
        return isinstance(meta["truncated"], int) and all(
            _seal(entry / name) == meta["files"][name] for name in ("ids.npy", "offsets.npy", "labels.npy")
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _seal(file: Path) -> list[int]:
    """Size in bytes and CRC-32."""
    content = file.read_bytes()
    return [len(content), crc32(content)]
