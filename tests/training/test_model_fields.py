"""Tests of `model.<field>`: a field is verified where the model uses it, in any architecture, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DistilBertConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    RobertaConfig,
)

from hpo.errors import SpecError
from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.store.trial_state import UNVERIFIED
from hpo.study.spec import load_study
from hpo.study.spec_tables import ModelSpec
from hpo.training.checkpoint import Checkpoint, load_checkpoint
from hpo.training.measurements import TrialEnded
from hpo.training.model_fields import FieldEffect
from hpo.training.trainer import RungTrainer

ENCODER: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
DECODER: dict[str, Any] = {**ENCODER, "num_key_value_heads": 2, "pad_token_id": 0, "max_position_embeddings": 64}
BART: dict[str, Any] = {
    f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")
}
BART |= {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 64, "pad_token_id": 0}
BART |= {"eos_token_id": 3, "bos_token_id": 2, "decoder_start_token_id": 3, "forced_eos_token_id": None}
CONFIGS: dict[str, Any] = {
    "bert": lambda size: BertConfig(vocab_size=size, **ENCODER),
    "roberta": lambda size: RobertaConfig(vocab_size=size, pad_token_id=0, max_position_embeddings=64, **ENCODER),
    "distilbert": lambda size: DistilBertConfig(vocab_size=size, dim=16, n_layers=2, n_heads=2, hidden_dim=16),
    "qwen2": lambda size: Qwen2Config(vocab_size=size, **DECODER),
    "llama": lambda size: LlamaConfig(vocab_size=size, **DECODER),
    "mistral": lambda size: MistralConfig(vocab_size=size, **DECODER),
    "bart": lambda size: BartConfig(vocab_size=size, **BART),
}
# architecture, field, and the attributes of modules (the last part of their paths) that hold it
GOVERNED = [
    ("bert", "hidden_dropout_prob", {"dropout.p"}),
    ("bert", "attention_probs_dropout_prob", {"dropout.p"}),
    ("bert", "layer_norm_eps", {"LayerNorm.eps"}),
    ("roberta", "hidden_dropout_prob", {"dropout.p"}),
    ("distilbert", "attention_dropout", {"dropout.p"}),
    ("distilbert", "seq_classif_dropout", {"dropout.p"}),
    ("qwen2", "attention_dropout", {"self_attn.attention_dropout"}),
    ("llama", "attention_dropout", {"self_attn.attention_dropout"}),
    ("mistral", "attention_dropout", {"self_attn.attention_dropout"}),
    ("bart", "attention_dropout", {"self_attn.dropout", "encoder_attn.dropout"}),
    ("bart", "encoder_layerdrop", {"encoder.layerdrop"}),
    ("bart", "dropout", set()),
]


def save_architecture(folder: Path, name: str) -> Path:
    """Save a tiny model of an architecture, with the tokenizer of builtin:tiny, as a checkpoint."""
    texts = ["a good film", "a bad film", "not good at all"] * 4
    tokenizer = Checkpoint(ModelSpec(checkpoint="builtin:tiny", max_length=32), texts, ("a", "b")).tokenizer
    # transformers 5.17 replaces the end token of the model's config by the tokenizer's, and BART looks for it.
    tokenizer.bos_token, tokenizer.eos_token = tokenizer.cls_token, tokenizer.sep_token
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(CONFIGS[name](len(tokenizer))).save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    return folder / name


def load_architecture(folder: Path, name: str) -> Checkpoint:
    spec = ModelSpec(checkpoint=str(save_architecture(folder, name)), max_length=32)
    return Checkpoint(spec, [], ("negative", "positive"))


def governed(effect: FieldEffect) -> set[str]:
    return {f"{module.rpartition('.')[2]}.{attribute}" for module, attribute in effect.attributes}


@pytest.mark.parametrize(("name", "field", "expected"), GOVERNED)
def test_field_governs_the_attributes_that_the_architecture_uses(
    tmp_path: Path, name: str, field: str, expected: set[str]
) -> None:
    checkpoint = load_architecture(tmp_path, name)
    effect = checkpoint.field_effect(field, 0.1)
    assert effect.is_used and effect.attributes and governed(effect) >= expected
    model = checkpoint.fresh({field: 0.3})
    assert effect.read(model, field, 0.3) == 0.3
    module, attribute = effect.attributes[-1]
    setattr(model.get_submodule(module), attribute, 0.7)
    assert effect.read(model, field, 0.3) == 0.7


def test_structural_field_is_read_from_the_config(tmp_path: Path) -> None:
    checkpoint = load_architecture(tmp_path, "bert")
    effect = checkpoint.field_effect("num_hidden_layers", 1)
    assert effect == FieldEffect((), is_used=True)
    assert effect.read(checkpoint.fresh({"num_hidden_layers": 1}), "num_hidden_layers", 1) == 1


def test_field_that_only_the_initialization_reads_is_used(tmp_path: Path) -> None:
    assert load_architecture(tmp_path, "bert").field_effect("initializer_range", 0.02).is_used


def test_field_whose_models_cannot_be_built_is_read_from_the_config(tmp_path: Path) -> None:
    checkpoint = load_architecture(tmp_path, "bert")
    effect = checkpoint.field_effect("num_attention_heads", 2)  # three heads do not divide the hidden size
    assert effect == FieldEffect((), is_used=True)
    assert effect.read(checkpoint.fresh(), "num_attention_heads", 2) == 2


def test_model_that_needs_its_weights_while_it_is_built_is_compared_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load_architecture(tmp_path, "qwen2")
    build = AutoModelForSequenceClassification.from_config

    def needs_weights(config: Any, **options: Any) -> Any:
        assert torch.empty(()).device.type != "meta"
        return build(config, **options)

    monkeypatch.setattr(AutoModelForSequenceClassification, "from_config", needs_weights)
    assert governed(checkpoint.field_effect("attention_dropout", 0.1)) == {"self_attn.attention_dropout"}


def test_comparing_models_draws_no_random_numbers(tmp_path: Path) -> None:
    checkpoint = load_architecture(tmp_path, "bert")
    before = torch.get_rng_state()
    checkpoint.field_effect("hidden_dropout_prob", 0.1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("qwen2", {"model.attention_dropout": 0.1}),
        ("bart", {"model.encoder_layerdrop": 0.1, "model.dropout": 0.2}),
        ("bert", {"model.hidden_dropout_prob": 0.2, "model.attention_probs_dropout_prob": 0.0}),
    ],
)
def test_trial_verifies_fields_of_the_model(small: Path, name: str, values: dict[str, Any]) -> None:
    save_architecture(small.parent, name)
    axes = ", ".join(f'"{field}" = {{ choices = [{value}] }}' for field, value in values.items())
    spec = load_study(small, (f"model.checkpoint='./{name}'", f"space.parameters={{ {axes} }}"))
    trainer = RungTrainer(prepare_context(spec, SearchListener())[0])
    assert trainer.run(values, seed=1).effective.items() >= values.items()


@pytest.mark.parametrize(
    ("module", "attribute"),
    [("bert.embeddings.dropout", "p"), ("bert.encoder.layer.1.output.dropout", "p"), ("dropout", "p")],
)
def test_dropout_of_another_module_does_not_verify_a_field(
    small: Path, monkeypatch: pytest.MonkeyPatch, module: str, attribute: str
) -> None:
    # Attention dropout is 0.1 as sampled for hidden dropout, but one hidden dropout is 0.3.
    trainer = RungTrainer(prepare_context(load_study(small), SearchListener())[0])
    fresh = Checkpoint.fresh

    def tampered(self: Checkpoint, changes: Any = None) -> Any:
        model = fresh(self, changes)
        setattr(model.get_submodule(module), attribute, 0.3)
        return model

    monkeypatch.setattr(Checkpoint, "fresh", tampered)
    values = {"model.hidden_dropout_prob": 0.1, "model.attention_probs_dropout_prob": 0.1}
    with pytest.raises(TrialEnded, match=f"^{UNVERIFIED}: model.hidden_dropout_prob was .* the live run has 0.3"):
        trainer.run(values, seed=1)


def test_field_without_effect_is_refused_before_the_first_trial(small: Path) -> None:
    from hpo.data.splits import load_splits

    axis = 'space.parameters={"model.use_cache"={choices=[true, false]}}'
    spec = load_study(small, (axis,))
    data = load_splits(spec.data, small.parent)
    with pytest.raises(SpecError, match=r"space.parameters.model.use_cache has no effect: no module of builtin:tiny"):
        load_checkpoint(spec, data)
    load_checkpoint(load_study(small, ('training."model.use_cache"=false',)), data)
