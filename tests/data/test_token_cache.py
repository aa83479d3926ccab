"""Tokens: the right ids, cached once, whatever happens to the cache."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.data import token_cache
from hpo.data.builtin_corpus import generate_reviews
from hpo.data.splits import Split
from hpo.data.token_cache import TokenizedSplit, tokenize_split, truncation_notice
from hpo.errors import DataError


@pytest.fixture(scope="module")
def split() -> Split:
    texts, labels = generate_reviews(300, 0)
    return Split(texts, labels, list(range(300)))


@pytest.fixture(scope="module")
def tokenizer(split: Split) -> Any:
    return wordpiece(split.texts, 500)


def wordpiece(texts: list[str], size: int) -> Any:
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    backend = BertWordPieceTokenizer()
    backend.train_from_iterator(texts, vocab_size=size, show_progress=False)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, **names)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each batch that is tokenised."""
    calls: list[int] = []
    batch = token_cache._batch

    def counting(texts: list[str], *rest: Any) -> Any:
        calls.append(len(texts))
        return batch(texts, *rest)

    monkeypatch.setattr(token_cache, "_batch", counting)
    return calls


def ids_of(made: TokenizedSplit) -> list[list[int]]:
    return [made[row]["input_ids"].tolist() for row in range(len(made))]


def entry(cache: Path) -> Path:
    (folder,) = cache.iterdir()
    return folder


def test_ids_are_those_of_the_tokenizer(split: Split, tokenizer: Any, tmp_path: Path) -> None:
    made = tokenize_split(split, tokenizer, 24, tmp_path)
    expected = tokenizer(split.texts, truncation=True, max_length=24)["input_ids"]
    assert ids_of(made) == expected
    assert [made[row]["labels"] for row in range(len(made))] == split.labels
    assert made.lengths.tolist() == [len(ids) for ids in expected]
    assert len(made) == 300 and made[299]["input_ids"].flags.writeable


def test_truncated_counts_texts_that_lost_something(split: Split, tokenizer: Any, tmp_path: Path) -> None:
    whole = [len(ids) for ids in tokenizer(split.texts)["input_ids"]]
    limit = sorted(whole)[150]  # some texts have exactly as many tokens: they are not cut
    made = tokenize_split(split, tokenizer, limit, tmp_path)
    assert made.truncated == sum(length > limit for length in whole) < sum(length >= limit for length in whole)
    told = truncation_notice(made, limit)
    assert told is not None and f"{made.truncated:,} of 300 texts" in told and f"{made.truncated / 300:.1%}" in told
    assert truncation_notice(tokenize_split(split, tokenizer, max(whole), tmp_path), max(whole)) is None


def test_a_second_call_reads_the_cache(split: Split, tokenizer: Any, tmp_path: Path, counted: list[int]) -> None:
    first = tokenize_split(split, tokenizer, 32, tmp_path)
    assert counted == [300]
    second = tokenize_split(split, tokenizer, 32, tmp_path)
    assert counted == [300] and second[7]["input_ids"].tolist() == first[7]["input_ids"].tolist()
    assert isinstance(second._ids.base, np.memmap) and not second._ids.flags.writeable


def test_the_key_is_data_tokenizer_and_length(split: Split, tokenizer: Any, tmp_path: Path, counted: list[int]) -> None:
    flipped = Split(split.texts, [1 - label for label in split.labels], split.ids)
    tokenize_split(split, tokenizer, 32, tmp_path)
    tokenize_split(split, tokenizer, 33, tmp_path)
    tokenize_split(flipped, tokenizer, 32, tmp_path)
    tokenize_split(split, wordpiece(split.texts, 400), 32, tmp_path)
    assert len(counted) == len(list(tmp_path.iterdir())) == 4
    tokenizer(
        ["padding and truncation are state of the tokenizer"], padding="max_length", truncation=True, max_length=9
    )
    tokenize_split(split, tokenizer, 32, tmp_path)
    assert len(counted) == 4


def cut(folder: Path) -> None:
    (folder / "ids.npy").write_bytes((folder / "ids.npy").read_bytes()[:-8])


def flip(folder: Path) -> None:
    content = bytearray((folder / "ids.npy").read_bytes())
    content[-3] ^= 1
    (folder / "ids.npy").write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut short": cut,
    "one bit flipped": flip,
    "array gone": lambda folder: (folder / "offsets.npy").unlink(),
    "meta gone": lambda folder: (folder / "meta.json").unlink(),
    "meta cut": lambda folder: (folder / "meta.json").write_text('{"truncated": 3, "fi'),
    "meta of another kind": lambda folder: (folder / "meta.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_rebuilt(
    damage: Callable[[Path], object], split: Split, tokenizer: Any, tmp_path: Path, counted: list[int]
) -> None:
    before = ids_of(tokenize_split(split, tokenizer, 32, tmp_path))
    damage(entry(tmp_path))
    after = tokenize_split(split, tokenizer, 32, tmp_path)
    assert ids_of(after) == before and len(counted) == 2
    tokenize_split(split, tokenizer, 32, tmp_path)
    assert len(counted) == 2 and entry(tmp_path).is_dir()  # nothing else is left in the cache


def test_a_writer_that_dies_leaves_no_entry(
    split: Split, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(token_cache, "_seal", lambda file: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tokenize_split(split, tokenizer, 32, tmp_path)
    half = entry(tmp_path)
    assert half.suffix == ".part"
    os.utime(half, (0, 0))
    tokenize_split(split, tokenizer, 32, tmp_path)
    assert not half.exists() and json.loads((entry(tmp_path) / "meta.json").read_text())["truncated"] >= 0


def test_the_loser_of_a_race_takes_the_winner(
    split: Split, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = token_cache._written

    def overtaken(made: Any, root: Path, key: str) -> Path:
        token_cache._publish(written(made, root, key), root / key)
        return written(made, root, key)

    monkeypatch.setattr(token_cache, "_written", overtaken)
    assert len(tokenize_split(split, tokenizer, 32, tmp_path)) == 300
    assert entry(tmp_path).is_dir()


def _sum(made: TokenizedSplit, box: Any) -> None:
    box.put((sum(map(sum, ids_of(made))), type(made._ids.base).__name__))


def test_another_process_shares_the_files(split: Split, tokenizer: Any, tmp_path: Path) -> None:
    made = tokenize_split(split, tokenizer, 32, tmp_path)
    assert len(pickle.dumps(made)) < 500
    context = multiprocessing.get_context("spawn")
    box = context.Queue()
    process = context.Process(target=_sum, args=(made, box))
    process.start()
    assert box.get(timeout=60) == (sum(map(sum, ids_of(made))), "memmap")
    process.join()


def test_batches_for_training(split: Split, tokenizer: Any, tmp_path: Path) -> None:
    import torch
    from transformers import DataCollatorWithPadding

    made = tokenize_split(split, tokenizer, 32, tmp_path)
    loader: Any = torch.utils.data.DataLoader(made, 8, collate_fn=DataCollatorWithPadding(tokenizer))  # type: ignore[arg-type]
    batch = next(iter(loader))
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (8, max(made.lengths[:8]))
    assert batch["labels"].tolist() == split.labels[:8] and batch["input_ids"].dtype == torch.int64


def test_threads_of_the_tokenizer_are_off_afterwards(
    split: Split, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(token_cache._PARALLEL, "true")
    tokenize_split(split, tokenizer, 32, tmp_path / "decided")
    assert os.environ[token_cache._PARALLEL] == "true"
    monkeypatch.delenv(token_cache._PARALLEL)
    tokenize_split(split, tokenizer, 32, tmp_path / "open")
    assert os.environ[token_cache._PARALLEL] == "false"


def test_the_default_folder_is_the_users_cache_or_that_of_the_environment(
    split: Split, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE", str(tmp_path))
    assert tokenize_split(split, tokenizer, 32).folder.parent == tmp_path / "tokens"
    monkeypatch.delenv("HPO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert token_cache._default_cache().parts[-2:] == ("hpo", "tokens")


def test_a_folder_that_cannot_be_written(split: Split, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="HPO_CACHE"):
        tokenize_split(split, tokenizer, 32, tmp_path / "file")


def test_a_text_without_tokens(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(WordLevel({"good": 0}, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    backend.model = WordLevel({"good": 0, "[UNK]": 1}, unk_token="[UNK]")
    bare = PreTrainedTokenizerFast(tokenizer_object=backend)
    with pytest.raises(DataError, match="row 5 has no tokens"):
        tokenize_split(Split(["good", "\u3000"], [0, 1], [2, 4]), bare, 8, tmp_path)
