"""Find texts that are nearly equal: most of their character 5-grams agree, as estimated by MinHash (Broder 1997).

NumPy hashes the 5-grams and rensa computes the signatures, which takes 3 s for 37,500 film reviews. With datasketch,
which hashes each 5-gram in Python, it took 48 s.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hpo.atomic import atomic_file
from hpo.data.text_comparison import normalize_text
from hpo.data.token_cache import default_cache_folder

if TYPE_CHECKING:
    from hpo.data.splits import Split, TextData

SIMILARITY = 0.8  # share of common 5-grams (Jaccard) from which on two texts are near-duplicates
MAX_CHARACTERS = 50_000_000  # of all texts; they take less than ten seconds. Of more, a sample is searched
SEARCH_VERSION = 1  # of the cached findings; part of their names
_SHINGLE = 5  # characters
_PERMUTATIONS = 126
# Values of a signature that candidates have in common: of pairs with similarity 0.8, 99.8 % become candidates.
_BAND = 6
_BUCKET = 10  # candidates per band that a text is compared with
_BLOCK_CHARACTERS = 2_000_000  # hashed at a time
_BLOCK_PAIRS = 100_000  # signatures compared at a time


@dataclass(frozen=True)
class NearDuplicates:
    """How many rows of a split nearly equal another row of train, and the most similar pair of them."""

    split: str
    rows: int  # that nearly equal one of train; equal texts are not among them
    searched: int  # rows of the split that were looked at
    searched_train: int
    example: tuple[int, int]  # positions in the split and in train


def describe_near_duplicates(data: TextData, cache: Path | None = None) -> list[str]:
    """Return a sentence on each split with near-duplicates of rows of train.

    The finding is cached, because all processes and commands of a study ask for it.
    """
    splits = data.splits()
    return [_describe(each, splits) for each in _load_findings(data, cache or _cache_folder())]


def _describe(near: NearDuplicates, splits: Mapping[str, Split]) -> str:
    position, train_position = near.example
    row, train_row = splits[near.split].ids[position] + 1, splits["train"].ids[train_position] + 1
    where = f"row {row} and row {train_row}" if near.split == "train" else f"row {row} and train row {train_row}"
    other = "another" if near.split == "train" else "one of train"
    sampled = ""
    if near.searched_train < len(splits["train"]):
        sampled = f", searched in a sample of {near.searched:,}"
        sampled += "" if near.split == "train" else f" and {near.searched_train:,} train"
        sampled += " rows, so there are more"
    return (
        f"{near.split}: {near.rows:,} of {near.searched:,} texts ({near.rows / near.searched:.1%}) are "
        f"near-duplicates of {other}, such as {where}{sampled}"
    )


# --- cache ------------------------------------------------------------------------------------------------------------


def _cache_folder() -> Path:
    return default_cache_folder().parent / "near-duplicates"


def _load_findings(data: TextData, folder: Path) -> list[NearDuplicates]:
    file = folder / f"{data.fingerprint}-{SEARCH_VERSION}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        stored = json.loads(file.read_text())
        return [NearDuplicates(**{**each, "example": tuple(each["example"])}) for each in stored]
    findings = find_near_duplicates({name: split.texts for name, split in data.splits().items()})
    with suppress(OSError):  # a folder that cannot be written costs time, nothing else
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as temporary:
            temporary.write_text(json.dumps([asdict(each) for each in findings]))
    return findings


# --- search -----------------------------------------------------------------------------------------------------------


def find_near_duplicates(texts: Mapping[str, Sequence[str]]) -> list[NearDuplicates]:
    """Return the splits with near-duplicates of train, train itself among them.

    `texts` has the texts of each split. Texts that are equal after normalization count as one: they are repeats and
    leaks, and are reported as such.
    """
    share = min(1.0, MAX_CHARACTERS / max(1, sum(len(text) for split in texts.values() for text in split)))
    positions = {name: _sample(len(split), share, name) for name, split in texts.items()}
    train_texts = [normalize_text(texts["train"][position]) for position in positions["train"]]
    rows_by_text: dict[str, int] = {}
    for row, text in enumerate(train_texts):
        rows_by_text.setdefault(text, row)
    train_rows = list(rows_by_text.values())
    train = _sign([train_texts[row] for row in train_rows])
    index = _BandIndex(train)
    findings = []
    for name, split_positions in positions.items():
        if name == "train":
            rows, signatures = train_rows, train
        else:
            split_texts = [normalize_text(texts[name][position]) for position in split_positions]
            rows = [row for row, text in enumerate(split_texts) if text not in rows_by_text]
            signatures = _sign([split_texts[row] for row in rows])
        similarity, partner = index.find_most_similar(signatures, excludes_itself=name == "train")
        is_near = similarity >= SIMILARITY
        if is_near.any():
            best = int(similarity.argmax())
            example = (split_positions[rows[best]], positions["train"][train_rows[int(partner[best])]])
            findings.append(
                NearDuplicates(name, int(is_near.sum()), len(split_positions), len(positions["train"]), example)
            )
    return findings


def _sample(rows: int, share: float, name: str) -> Sequence[int]:
    if share == 1.0:
        return range(rows)
    return sorted(random.Random(f"near-duplicates {name}").sample(range(rows), max(1, int(share * rows))))


def _sign(texts: Sequence[str]) -> NDArray[np.uint32]:
    """Return the MinHash signatures of texts, (n, permutations). A text shorter than a 5-gram has one hash."""
    from rensa import RMinHash

    blocks = [np.zeros((0, _PERMUTATIONS), np.uint32)]
    start = 0
    while start < len(texts):
        end, characters = start, 0
        while end < len(texts) and (end == start or characters + len(texts[end]) <= _BLOCK_CHARACTERS):
            characters += len(texts[end])
            end += 1
        hashes, offsets = _hash_shingles(texts[start:end])
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, _PERMUTATIONS, 0)
        blocks.append(np.array(matrix.to_rows(), np.uint32))
        start = end
    return np.concatenate(blocks)


def _hash_shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the hashes of all 5-grams of all texts, and where those of each text start and end."""
    # A text is padded to one 5-gram at least, with a character that no text has.
    padded = [text.ljust(_SHINGLE, "\0") for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), np.uint32).astype(np.uint64)
    ends = np.cumsum([len(text) for text in padded])
    count = len(codes) - _SHINGLE + 1
    hashes = np.zeros(count, np.uint64)
    for shift in range(_SHINGLE):
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes ^= codes[shift : shift + count]
    # Multiplication spreads bits upwards only: fold the high half down, and multiply again.
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(29)
    crosses_end = np.zeros(count, bool)
    for shift in range(1, _SHINGLE):
        crosses_end[ends[:-1] - shift] = True
    offsets = np.concatenate([[0], ends - (_SHINGLE - 1) * np.arange(1, len(texts) + 1)])
    return hashes[~crosses_end], offsets.astype(np.uint64)


class _BandIndex:
    """Signatures by their bands: rows that agree in all of a band's values are candidates (Leskovec et al., ch. 3)."""

    def __init__(self, signatures: NDArray[np.uint32]) -> None:
        self.signatures = signatures
        keys = [_hash_band(signatures, band) for band in range(_PERMUTATIONS // _BAND)]
        self.orders = [np.argsort(band, kind="stable") for band in keys]
        self.sorted = [band[order] for band, order in zip(keys, self.orders, strict=True)]

    def find_most_similar(
        self, signatures: NDArray[np.uint32], excludes_itself: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the similarity of each signature's most similar row, and that row; similarity 0 if there is none."""
        similarity, partner = np.zeros(len(signatures)), np.zeros(len(signatures), np.int64)
        for band, (order, keys) in enumerate(zip(self.orders, self.sorted, strict=True)):
            wanted = _hash_band(signatures, band)
            start, end = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
            for step in range(_BUCKET):
                queries = np.flatnonzero(start + step < end)
                rows = order[start[queries] + step]
                if excludes_itself:
                    queries, rows = queries[queries != rows], rows[queries != rows]
                for block in range(0, len(queries), _BLOCK_PAIRS):
                    query, row = queries[block : block + _BLOCK_PAIRS], rows[block : block + _BLOCK_PAIRS]
                    agreement = (signatures[query] == self.signatures[row]).mean(axis=1)
                    is_better = agreement > similarity[query]
                    similarity[query[is_better]] = agreement[is_better]
                    partner[query[is_better]] = row[is_better]
        return similarity, partner


def _hash_band(signatures: NDArray[np.uint32], band: int) -> NDArray[np.uint64]:
    hashes = np.zeros(len(signatures), np.uint64)
    for column in range(band * _BAND, (band + 1) * _BAND):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + signatures[:, column]
        hashes ^= hashes >> np.uint64(32)
    return hashes
