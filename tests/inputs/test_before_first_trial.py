"""What would fail every trial is one line before the first one, and nothing is written."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
    MPNetConfig,
    PreTrainedModel,
    XLNetConfig,
    XmodConfig,
)

from hpo.data.splits import TextData
from hpo.errors import HpoError, ModelError
from hpo.evaluation.baselines import run_baselines
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.run_listener import RunListener
from hpo.search import smoke_test
from hpo.search.engines import run_search
from hpo.search.preflight import load_study_data, preflight
from hpo.search.search_listener import SearchListener
from hpo.search.setup import load_context, open_search
from hpo.search.smoke_test import EmbeddingGuard, find_length_limit, run_smoke_test
from hpo.store.storage import storage_url
from hpo.study.spec import load_study
from hpo.training.tiny_model import build_tiny_model
from hpo.training.trainer import RungTrainer

TEXTS = ["a good film", "a bad film", "not a good film at all", "not bad"]
CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation  # so that no text has an unknown token
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
SMALL_BERT = BertConfig(**SIZES, max_position_embeddings=64)


@pytest.fixture
def save_checkpoint(tmp_path: Path) -> Callable[..., str]:
    """A function that saves a checkpoint of a config with a tokenizer, and returns an override that names it."""

    def save(config: Any) -> str:
        tokenizer, _ = build_tiny_model([*TEXTS, CHARACTERS], 64)
        tokenizer.model_max_length = 10**30
        config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
        folder = tmp_path / "checkpoint"
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return f"model.checkpoint='{folder}'"

    return save


@pytest.fixture
def tiny_files(tmp_path: Path) -> Path:
    """A study of a few texts in files; only the test file has the word `zzz`."""
    for split, texts in {"train": TEXTS * 4, "validation": TEXTS, "test": [*TEXTS[:3], "zzz not bad"]}.items():
        rows = [f"{text},{index % 2}\n" for index, text in enumerate(texts)]
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "".join(rows))
    file = tmp_path / "tiny.toml"
    file.write_text(
        'name = "tiny"\n[data]\ntrain = "train.csv"\nvalidation = ["validation.csv"]\ntest = ["test.csv"]\n'
        '[model]\ncheckpoint = "builtin:tiny"\nmax_length = 16\n'
        "[space.parameters]\nlearning_rate = { low = 1e-5, high = 1e-2, log = true }\n"
        '[search]\ntrials = 1\npruner = "none"\n[training]\nper_device_train_batch_size = 4\nnum_train_epochs = 1\n'
    )
    return file


def refusal(file: Path, *overrides: str) -> str:
    """Return the message with which a search is refused; check that it is one line and that nothing is written."""
    before = sorted(file.parent.rglob("*"))
    spec = load_study(file, overrides)
    with pytest.raises(HpoError) as caught:
        run_search(spec, storage_url(spec), SearchListener())
    assert sorted(file.parent.rglob("*")) == before and "\n" not in str(caught.value)
    return str(caught.value)


# --- positions --------------------------------------------------------------------------------------------------------

POSITIONS = {
    "mpnet": (MPNetConfig(**SIZES, max_position_embeddings=66), 64),  # its padding index is 1, whatever the config says
    "xmod": (XmodConfig(**SIZES, max_position_embeddings=66, default_language="en_XX"), 65),
    "bert": (BertConfig(**SIZES, max_position_embeddings=64), 64),
    "gpt2": (GPT2Config(n_embd=32, n_layer=1, n_head=2, n_positions=64), 64),
}


@pytest.mark.parametrize("name", ["mpnet", "xmod"])
def test_the_message_names_the_largest_max_length_that_works(
    name: str, small: Path, save_checkpoint: Callable[..., str]
) -> None:
    config, limit = POSITIONS[name]
    message = refusal(small, save_checkpoint(config), "model.max_length=66")
    assert f"model.max_length is 66; {small.parent}/checkpoint takes at most {limit} tokens" in message
    assert f"set model.max_length = {limit}" in message


def test_max_length_is_checked_if_all_texts_are_shorter(tiny_files: Path, save_checkpoint: Callable[..., str]) -> None:
    config = MPNetConfig(**SIZES, max_position_embeddings=66)
    assert "takes at most 64 tokens" in refusal(tiny_files, save_checkpoint(config), "model.max_length=66")


@pytest.mark.parametrize("name", POSITIONS)
def test_the_limit_that_is_read_equals_the_one_found_by_trying(name: str) -> None:
    config, limit = POSITIONS[name]
    config.vocab_size, config.pad_token_id = 50, 0
    model = AutoModelForSequenceClassification.from_config(config)
    tokens = np.full(80, 7)
    assert find_length_limit(model, tokens) == limit
    assert find_length_limit(model, tokens[:limit]) is None
    with torch.no_grad(), EmbeddingGuard(20) as guard:
        model(input_ids=torch.from_numpy(tokens[None, :20]), attention_mask=torch.ones(1, 20, dtype=torch.long))
    assert guard.position_limit == limit


def test_xlnet_has_no_limit(tiny_files: Path, save_checkpoint: Callable[..., str]) -> None:
    checkpoint = save_checkpoint(XLNetConfig(d_model=32, n_layer=1, n_head=2, d_inner=64))
    spec = load_study(tiny_files, (checkpoint, "model.max_length=64"))
    assert run_search(spec, storage_url(spec), SearchListener()).best_value >= 0


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_without_embedding_that_only_test_has_is_named(
    tiny_files: Path, save_checkpoint: Callable[..., str]
) -> None:
    override = save_checkpoint(SMALL_BERT)
    folder = tiny_files.parent / "checkpoint"
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    size = len(tokenizer["model"]["vocab"])
    tokenizer["model"]["vocab"]["zzz"] = size
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    message = refusal(tiny_files, override)
    assert f"test: the text of row 4 has token 'zzz' with id {size}" in message
    assert f"embeddings for {size} tokens, its tokenizer has {size + 1}" in message


def test_tokens_without_embedding_that_no_split_has_are_a_notice(
    tiny_files: Path, save_checkpoint: Callable[..., str]
) -> None:
    spec = load_study(tiny_files, (save_checkpoint(SMALL_BERT),))
    tokenizer_file = tiny_files.parent / "checkpoint" / "tokenizer.json"
    tokenizer = json.loads(tokenizer_file.read_text())
    tokenizer["model"]["vocab"]["yyy"] = len(tokenizer["model"]["vocab"])
    tokenizer_file.write_text(json.dumps(tokenizer))
    _, _, study = open_search(spec, storage_url(spec), SearchListener())
    assert any("a text that has one cannot be classified" in notice for notice in study.user_attrs["data"]["notices"])


def test_a_padding_token_without_embedding_is_refused(tiny_files: Path, save_checkpoint: Callable[..., str]) -> None:
    override = save_checkpoint(SMALL_BERT)
    folder = tiny_files.parent / "checkpoint"
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<new padding>"})
    tokenizer.save_pretrained(folder)
    assert "the padding token '<new padding>' has id" in refusal(tiny_files, override)


def test_labels_of_the_test_split_are_not_read(small: Path) -> None:
    context, data = load_small(small)

    class Sealed(list[int]):
        def __iter__(self) -> Any:
            raise AssertionError("the test labels were read")

        def __getitem__(self, index: Any) -> Any:
            raise AssertionError("a test label was read")

    assert data.test is not None
    sealed = TextData(data.train, data.validation, type(data.test)(data.test.texts, Sealed([0] * 32), data.test.ids),
                      data.label_names, data.notices, "sealed")  # fmt: skip
    assert run_smoke_test(context, sealed) == []


# --- batches ----------------------------------------------------------------------------------------------------------

BATCHES = {
    "space.parameters.per_device_train_batch_size={choices=[4, 32]}": "goes up to 32, but there are 16 train rows",
    "training.gradient_accumulation_steps=5": "is 5, but 16 train rows in batches of 4 are 4 batches an epoch",
    "space.parameters.gradient_accumulation_steps={low=1, high=8}": "goes up to 8, but 16 train rows in batches of 4",
}


@pytest.mark.parametrize("override", BATCHES)
def test_batches_and_accumulation_that_the_rows_do_not_fill_are_refused(override: str, tiny_files: Path) -> None:
    if "space.parameters.per_device" in override:
        tiny_files.write_text(tiny_files.read_text().replace("per_device_train_batch_size = 4\n", ""))
    assert BATCHES[override] in refusal(tiny_files, override)


def test_a_fixed_batch_that_holds_all_rows_is_a_notice(tiny_files: Path) -> None:
    spec = load_study(tiny_files, ("training.per_device_train_batch_size=17",))
    notices = load_context(spec, load_study_data(spec), lambda text: None)[1]
    assert any("is 17, but there are 16 train rows, so each step uses all of them" in text for text in notices)
    assert run_search(spec, storage_url(spec), SearchListener()).best_value >= 0


@pytest.mark.parametrize("value", ["true", "{choices=[true, false]}"])
def test_drop_last_that_drops_all_rows_is_refused(value: str, tiny_files: Path) -> None:
    tiny_files.write_text(tiny_files.read_text().replace("per_device_train_batch_size = 4\n", ""))
    key = "training" if value == "true" else "space.parameters"
    message = refusal(tiny_files, f"{key}.dataloader_drop_last={value}", "data.rows={train=6}")
    assert "drops all 6 train rows, which do not fill a batch of 8" in message


def test_drop_last_counts_whole_batches_for_accumulation(tiny_files: Path) -> None:
    overrides = ("training.per_device_train_batch_size=6", "training.gradient_accumulation_steps=3")
    preflight(load_study(tiny_files, overrides), f"sqlite:///{tiny_files.parent}/none.db")
    message = refusal(tiny_files, *overrides, "training.dataloader_drop_last=true")
    assert "16 train rows in batches of 6 are 2 batches an epoch" in message


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["reduce_lr_on_plateau", "greedy"])
@pytest.mark.parametrize(
    "key", ["training.lr_scheduler_type='{}'", "space.parameters.lr_scheduler_type={{choices=['{}']}}"]
)
def test_schedules_that_follow_a_metric_are_refused_with_an_alternative(schedule: str, key: str, small: Path) -> None:
    message = refusal(small, key.format(schedule))
    assert f"lr_scheduler_type is {schedule!r}, which follows a metric" in message and "use linear, cosine" in message


REFUSALS = {
    "training.torch_compile_backend='inductor'": "is not supported yet: each trial would compile the model again",
    "training.eval_do_concat_batches=false": "is set by the search",
    "training.dataloader_prefetch_factor=2": "needs training.dataloader_num_workers of 1 or more",
}


@pytest.mark.parametrize("override", REFUSALS)
def test_settings_are_refused_with_advice_that_a_study_can_follow(override: str, small: Path) -> None:
    message = refusal(small, override)
    assert REFUSALS[override] in message and "--" not in message


def test_what_only_the_training_loop_refuses_is_one_line(small: Path) -> None:
    # DataLoader refuses it when the first trial asks for its batches.
    message = refusal(small, "training.dataloader_persistent_workers=true")
    assert (
        "a training step on texts of up to" in message and "persistent_workers option needs num_workers > 0" in message
    )


def test_what_the_model_refuses_is_one_line_and_its_traceback_is_in_the_log(
    tiny_files: Path, save_checkpoint: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    override = save_checkpoint(SMALL_BERT)
    caplog.set_level("INFO", "hpo")
    # The longest text has 8 tokens, which is no multiple of 3.
    message = refusal(tiny_files, override, "training.'model.chunk_size_feed_forward'=3")
    assert message.startswith(f"model.checkpoint {tiny_files.parent}/checkpoint: a training step on texts of up to")
    assert "has to be a multiple of the chunk size 3" in message and "Traceback" in caplog.text


def test_a_model_that_takes_multiples_of_a_length_has_no_limit() -> None:
    model = AutoModelForSequenceClassification.from_config(BertConfig(**SIZES, chunk_size_feed_forward=4))
    assert find_length_limit(model, np.full(31, 7)) is None


def test_too_little_memory_for_one_text_names_what_to_try(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(RungTrainer, "training_step", no_memory)
    message = refusal(small, "model.max_length=31")
    assert "model.max_length is 31: out of memory" in message and "training.gradient_checkpointing = true" in message


def test_a_checkpoint_whose_weights_are_not_finite_is_refused(
    tiny_files: Path, save_checkpoint: Callable[..., str]
) -> None:
    override = save_checkpoint(SMALL_BERT)
    folder = tiny_files.parent / "checkpoint"
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    model.save_pretrained(folder)
    assert "diverged: the loss is not finite at step 1; its weights are damaged" in refusal(tiny_files, override)


# --- folders ----------------------------------------------------------------------------------------------------------


def test_an_adapter_as_checkpoint_is_named_with_its_base_model(small: Path) -> None:
    adapter = small.parent / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    message = refusal(small, f"model.checkpoint='{adapter}'")
    assert f"{adapter} holds a PEFT adapter of owner/base, not a model" in message and "merge_and_unload()" in message


def test_a_folder_without_a_model_is_refused(small: Path) -> None:
    empty = small.parent / "empty"
    empty.mkdir()
    assert "has no config.json" in refusal(small, f"model.checkpoint='{empty}'")
    (empty / "file").write_text("")
    assert "is a file; name the folder" in refusal(small, f"model.checkpoint='{empty}/file'")


# --- no trace ---------------------------------------------------------------------------------------------------------


def load_small(small: Path, *overrides: str) -> tuple[Any, TextData]:
    spec = load_study(small, overrides)
    data = load_study_data(spec)
    return load_context(spec, data, lambda text: None)[0], data


def random_states() -> list[Any]:
    arrays: Any = np.random.get_state()
    return [random.getstate(), arrays[1].tolist(), torch.get_rng_state().tolist()]


def test_the_smoke_test_leaves_random_state_model_and_folder_alone(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke_test, "_passed", {})
    context, data = load_small(small)
    before_files = sorted(small.parent.rglob("*"))
    states = random_states()
    assert run_smoke_test(context, data) == []
    assert random_states() == states
    assert sorted(small.parent.rglob("*")) == before_files
    model = context.checkpoint._resident
    assert model is not None and all(parameter.grad is None for parameter in model.parameters())
    assert "_original_forward" not in vars(model)


def test_scores_are_equal_to_those_without_the_smoke_test(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = []
    for is_tested in (False, True):
        monkeypatch.setattr(smoke_test, "_passed", {})
        context, data = load_small(small)
        if is_tested:
            run_smoke_test(context, data)
        curves.append(RungTrainer(context).run({"learning_rate": 1e-3}, seed=5).curve)
    assert curves[0] == curves[1]


def test_the_smoke_test_is_made_once_per_process_and_not_in_workers(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    train = smoke_test._train_one_step
    monkeypatch.setattr(smoke_test, "_passed", {})

    def count_step(*inputs: Any) -> None:
        steps.append("step")
        train(*inputs)

    monkeypatch.setattr(smoke_test, "_train_one_step", count_step)
    spec = load_study(small, ("search.trials=1", "final.seeds=1"))
    run_search(spec, storage_url(spec), SearchListener())
    with open_final_runs(spec, storage_url(spec), RunListener(), searched=True):
        assert steps == ["step"]
    smoke_test._passed.clear()
    open_search(spec, storage_url(spec), SearchListener(), is_worker=True)
    assert steps == ["step"]


def test_a_finished_search_is_not_tested_again(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_study(small, ("search.trials=1", "model.max_length=24"))
    run_search(spec, storage_url(spec), SearchListener())
    monkeypatch.setattr(smoke_test, "_passed", {})
    monkeypatch.setattr(smoke_test, "_train_one_step", lambda *inputs: pytest.fail("another smoke test"))
    assert len(run_search(spec, storage_url(spec), SearchListener()).get_trials()) == 1


# --- final runs -------------------------------------------------------------------------------------------------------


def test_final_runs_are_refused_before_the_store_is_written(
    tiny_files: Path, save_checkpoint: Callable[..., str]
) -> None:
    override = save_checkpoint(MPNetConfig(**SIZES, max_position_embeddings=66))
    spec = load_study(tiny_files, (override, "model.max_length=66"))
    with (
        pytest.raises(ModelError, match="takes at most 64 tokens"),
        open_final_runs(spec, storage_url(spec), RunListener()),
    ):
        pass
    assert not (tiny_files.parent / "store.db").exists()
    with open_final_runs(spec, storage_url(spec), RunListener(), uses_checkpoint=False) as final:
        assert run_baselines(final, ["majority"])["majority"][0].state == optuna.trial.TrialState.COMPLETE
