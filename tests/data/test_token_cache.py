"""Token ids are those of the tokenizer, and cached once, whatever happens to the cache."""

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
    return train_wordpiece(split.texts, 500)


def train_wordpiece(texts: list[str], size: int) -> Any:
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    backend = BertWordPieceTokenizer()
    backend.train_from_iterator(texts, vocab_size=size, show_progress=False)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, **names)


@pytest.fixture
def tokenized_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of texts of each batch that is tokenized."""
    calls: list[int] = []
    tokenize_batch = token_cache._tokenize_batch

    def count_and_tokenize(texts: list[str], *rest: Any) -> Any:
        calls.append(len(texts))
        return tokenize_batch(texts, *rest)

    monkeypatch.setattr(token_cache, "_tokenize_batch", count_and_tokenize)
    return calls


def ids_of(tokens: TokenizedSplit) -> list[list[int]]:
    return [tokens[row]["input_ids"].tolist() for row in range(len(tokens))]


def only_entry(cache: Path) -> Path:
    (folder,) = cache.iterdir()
    return folder


def test_ids_are_those_of_the_tokenizer(split: Split, tokenizer: Any, tmp_path: Path) -> None:
    tokens = tokenize_split(split, tokenizer, 24, tmp_path)
    expected = tokenizer(split.texts, truncation=True, max_length=24)["input_ids"]
    assert ids_of(tokens) == expected
    assert [tokens[row]["labels"] for row in range(len(tokens))] == split.labels
    assert tokens.lengths.tolist() == [len(ids) for ids in expected]
    assert len(tokens) == 300 and tokens[299]["input_ids"].flags.writeable


def test_truncated_counts_only_texts_that_lost_tokens(split: Split, tokenizer: Any, tmp_path: Path) -> None:
    lengths = [len(ids) for ids in tokenizer(split.texts)["input_ids"]]
    limit = sorted(lengths)[150]  # texts of exactly this length are not truncated
    tokens = tokenize_split(split, tokenizer, limit, tmp_path)
    assert tokens.truncated == sum(length > limit for length in lengths) < sum(length >= limit for length in lengths)
    notice = truncation_notice(tokens, limit)
    assert notice is not None and f"{tokens.truncated:,} of 300 texts ({tokens.truncated / 300:.1%})" in notice
    assert truncation_notice(tokenize_split(split, tokenizer, max(lengths), tmp_path), max(lengths)) is None


def test_second_call_reads_the_cache(
    split: Split, tokenizer: Any, tmp_path: Path, tokenized_batches: list[int]
) -> None:
    first = tokenize_split(split, tokenizer, 32, tmp_path)
    assert tokenized_batches == [300]
    second = tokenize_split(split, tokenizer, 32, tmp_path)
    assert tokenized_batches == [300] and second[7]["input_ids"].tolist() == first[7]["input_ids"].tolist()
    assert isinstance(second._ids.base, np.memmap) and not second._ids.flags.writeable


def test_entry_depends_on_data_tokenizer_and_length(
    split: Split, tokenizer: Any, tmp_path: Path, tokenized_batches: list[int]
) -> None:
    flipped = Split(split.texts, [1 - label for label in split.labels], split.ids)
    tokenize_split(split, tokenizer, 32, tmp_path)
    tokenize_split(split, tokenizer, 33, tmp_path)
    tokenize_split(flipped, tokenizer, 32, tmp_path)
    tokenize_split(split, train_wordpiece(split.texts, 400), 32, tmp_path)
    assert len(tokenized_batches) == len(list(tmp_path.iterdir())) == 4
    tokenizer(
        ["padding and truncation are state of the tokenizer"], padding="max_length", truncation=True, max_length=9
    )
    tokenize_split(split, tokenizer, 32, tmp_path)
    assert len(tokenized_batches) == 4


def truncate_ids(folder: Path) -> None:
    (folder / "ids.npy").write_bytes((folder / "ids.npy").read_bytes()[:-8])


def flip_bit(folder: Path) -> None:
    content = bytearray((folder / "ids.npy").read_bytes())
    content[-3] ^= 1
    (folder / "ids.npy").write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "ids truncated": truncate_ids,
    "bit flipped": flip_bit,
    "array missing": lambda folder: (folder / "offsets.npy").unlink(),
    "meta missing": lambda folder: (folder / "meta.json").unlink(),
    "meta truncated": lambda folder: (folder / "meta.json").write_text('{"truncated": 3, "fi'),
    "meta of another type": lambda folder: (folder / "meta.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_entry_is_rebuilt(
    damage: Callable[[Path], object], split: Split, tokenizer: Any, tmp_path: Path, tokenized_batches: list[int]
) -> None:
    before = ids_of(tokenize_split(split, tokenizer, 32, tmp_path))
    damage(only_entry(tmp_path))
    after = tokenize_split(split, tokenizer, 32, tmp_path)
    assert ids_of(after) == before and len(tokenized_batches) == 2
    tokenize_split(split, tokenizer, 32, tmp_path)
    assert len(tokenized_batches) == 2 and only_entry(tmp_path).is_dir()  # no temporary folder is left in the cache


def test_killed_writer_leaves_no_entry(
    split: Split, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(token_cache, "_checksum", lambda file: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tokenize_split(split, tokenizer, 32, tmp_path)
    assert not list(tmp_path.iterdir())
    tokenize_split(split, tokenizer, 32, tmp_path)
    assert json.loads((only_entry(tmp_path) / "meta.json").read_text())["truncated"] >= 0


def test_entry_of_a_faster_process_is_used(
    split: Split, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_entry = token_cache._write_entry

    def write_later(folder: Path, arrays: Any, truncated: int) -> None:
        monkeypatch.setattr(token_cache, "_write_entry", write_entry)
        tokenize_split(split, tokenizer, 32, tmp_path)
        first.append((tmp_path / folder.name).stat().st_ino)
        write_entry(folder, arrays, truncated)

    first: list[int] = []
    monkeypatch.setattr(token_cache, "_write_entry", write_later)
    assert len(tokenize_split(split, tokenizer, 32, tmp_path)) == 300
    assert only_entry(tmp_path).stat().st_ino == first[0], "the entry of the faster process was replaced"


def put_sum(tokens: TokenizedSplit, queue: Any) -> None:
    queue.put((sum(map(sum, ids_of(tokens))), type(tokens._ids.base).__name__))


def test_other_process_maps_the_same_files(split: Split, tokenizer: Any, tmp_path: Path) -> None:
    tokens = tokenize_split(split, tokenizer, 32, tmp_path)
    assert len(pickle.dumps(tokens)) < 500
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=put_sum, args=(tokens, queue))
    process.start()
    assert queue.get(timeout=60) == (sum(map(sum, ids_of(tokens))), "memmap")
    process.join()


def test_data_loader_pads_batches_of_tokens(split: Split, tokenizer: Any, tmp_path: Path) -> None:
    import torch
    from transformers import DataCollatorWithPadding

    tokens = tokenize_split(split, tokenizer, 32, tmp_path)
    loader: Any = torch.utils.data.DataLoader(tokens, 8, collate_fn=DataCollatorWithPadding(tokenizer))  # type: ignore[arg-type]
    batch = next(iter(loader))
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (8, max(tokens.lengths[:8]))
    assert batch["labels"].tolist() == split.labels[:8] and batch["input_ids"].dtype == torch.int64


def test_tokenizer_threads_are_off_afterwards_unless_the_user_set_them(
    split: Split, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(token_cache._PARALLELISM_VARIABLE, "true")
    tokenize_split(split, tokenizer, 32, tmp_path / "set")
    assert os.environ[token_cache._PARALLELISM_VARIABLE] == "true"
    monkeypatch.delenv(token_cache._PARALLELISM_VARIABLE)
    tokenize_split(split, tokenizer, 32, tmp_path / "unset")
    assert os.environ[token_cache._PARALLELISM_VARIABLE] == "false"


def test_default_folder_is_the_environment_variable_or_the_users_cache(
    split: Split, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE", str(tmp_path))
    assert tokenize_split(split, tokenizer, 32).folder.parent == tmp_path / "tokens"
    monkeypatch.delenv("HPO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert token_cache.default_cache_folder().parts[-2:] == ("hpo", "tokens")


def test_unwritable_folder_is_an_error(split: Split, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="HPO_CACHE"):
        tokenize_split(split, tokenizer, 32, tmp_path / "file")


def test_text_without_tokens_is_an_error(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(WordLevel({"good": 0}, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    backend.model = WordLevel({"good": 0, "[UNK]": 1}, unk_token="[UNK]")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    with pytest.raises(DataError, match="row 5 has no tokens"):
        tokenize_split(Split(["good", "\u3000"], [0, 1], [2, 4]), tokenizer, 8, tmp_path)
