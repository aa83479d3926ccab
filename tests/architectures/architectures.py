"""ARCHITECTURES: tiny models with random weights, one row per architecture, and the checkpoints made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from transformers import AutoConfig, AutoModel

from hpo.data.builtin_corpus import generate_reviews
from hpo.training.tiny_model import build_tiny_model

MAX_LENGTH = 32
WEIGHT_SCALE = 4.0
# Template of a text and its special tokens; a number is the token type where it is not 0.
BERT_TEXT, EOS_TEXT, PLAIN_TEXT = "[CLS] $A [SEP]", "$A [SEP]", "$A"
FUNNEL_TEXT, XLNET_TEXT = "[CLS]:2 $A [SEP]", "$A [SEP] [CLS]:2"


@dataclass(frozen=True)
class Architecture:
    """One architecture at a tiny size.

    Attributes:
        config: Fields of its config; the model type is the row's name if they do not name it.
        template: Special tokens around a text.
        has_padding: Whether its tokenizer has a padding token.
        padding_side: The side on which its tokenizer pads.
        is_fast: Whether `make test` has it; the whole table is for `make test-long`.
        save_options: Options of save_pretrained: how the weights are stored.
        is_pickled: Whether the weights are only in a pytorch_model.bin, as in old folders on the hub.
    """

    config: Mapping[str, Any]
    template: str = BERT_TEXT
    has_padding: bool = True
    padding_side: str = "right"
    is_fast: bool = False
    save_options: Mapping[str, Any] = field(default_factory=dict)
    is_pickled: bool = False


ENCODER: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
ENCODER |= {"max_position_embeddings": 64}
OFFSET: dict[str, Any] = {**ENCODER, "max_position_embeddings": 40}
DECODER: dict[str, Any] = {**ENCODER, "num_key_value_heads": 2, "head_dim": 16}
BART: dict[str, Any] = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2}
BART |= {"decoder_attention_heads": 2}
BART |= {"d_model": 32, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64}
BART |= {"decoder_start_token_id": 3, "forced_eos_token_id": None}
T5: dict[str, Any] = {
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 32,
    "num_layers": 2,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
XLM: dict[str, Any] = {"emb_dim": 32, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64}
MOBILEBERT: dict[str, Any] = {"embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16}
FUNNEL: dict[str, Any] = {"block_sizes": [1, 1], "block_repeats": [1, 1], "num_decoder_layers": 1, "d_model": 32}
FUNNEL |= {"n_head": 2, "d_head": 16, "d_inner": 32, "architectures": ["FunnelModel"]}

ARCHITECTURES = {
    "bert": Architecture(ENCODER, is_fast=True),
    "distilbert": Architecture(
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 64}, is_fast=True
    ),
    "roberta": Architecture(OFFSET),
    "xlm-roberta": Architecture(OFFSET),
    "electra": Architecture({**ENCODER, "embedding_size": 16}),
    "albert": Architecture({**ENCODER, "embedding_size": 16}),
    "deberta": Architecture({**ENCODER, "pos_att_type": ["c2p", "p2c"], "relative_attention": True}),
    "deberta-v2": Architecture({**ENCODER, "pos_att_type": ["c2p", "p2c"], "relative_attention": True}),
    "modernbert": Architecture({**ENCODER, "global_attn_every_n_layers": 2, "local_attention": 8}, is_fast=True),
    "mpnet": Architecture(OFFSET),
    "bart": Architecture(BART),
    "t5": Architecture(T5, EOS_TEXT, is_fast=True),
    "gpt2": Architecture({"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}, PLAIN_TEXT, has_padding=False),
    "llama": Architecture(DECODER, PLAIN_TEXT, has_padding=False),
    "qwen3": Architecture(DECODER, PLAIN_TEXT),
    "gemma3_text": Architecture({**DECODER, "sliding_window": 8}, BERT_TEXT),
    "longformer": Architecture({**OFFSET, "attention_window": [8, 8]}),
    "big_bird": Architecture({**ENCODER, "block_size": 4, "num_random_blocks": 1}),
    "mobilebert": Architecture({**ENCODER, **MOBILEBERT}),
    "convbert": Architecture({**ENCODER, "embedding_size": 16, "head_ratio": 1, "conv_kernel_size": 3}),
    "nystromformer": Architecture(ENCODER),
    "fnet": Architecture({**ENCODER, "tpu_short_seq_length": 32}),
    "xlm": Architecture(XLM),
    "flaubert": Architecture(XLM),
    "mbart": Architecture(BART, "$A [SEP] [CLS]"),
    "xlnet": Architecture(
        {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 32}, XLNET_TEXT, padding_side="left", is_fast=True
    ),
    "xmod": Architecture({**OFFSET, "languages": ["en_XX"], "default_language": "en_XX"}),
    "funnel": Architecture(FUNNEL, FUNNEL_TEXT),
    "byt5": Architecture({**T5, "model_type": "t5", "feed_forward_proj": "gated-gelu"}, EOS_TEXT),
    "bert pickled": Architecture({**ENCODER, "model_type": "bert"}, is_pickled=True),
    "bert in shards": Architecture({**ENCODER, "model_type": "bert"}, save_options={"max_shard_size": "20KB"}),
}


def build_tokenizer(architecture: Architecture) -> Any:
    """Return a WordPiece tokenizer with the special tokens, token types and padding of an architecture."""
    tokenizer, _ = build_tiny_model(generate_reviews(100, seed=0)[0], MAX_LENGTH)
    ids = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=architecture.template, special_tokens=ids
    )
    tokenizer.eos_token, tokenizer.bos_token = "[SEP]", "[CLS]"
    tokenizer.padding_side = architecture.padding_side
    if not architecture.has_padding:
        tokenizer.pad_token = None
    tokenizer.model_max_length = int(1e30)  # as in many folders on the hub
    return tokenizer


def build_config(name: str) -> Any:
    """Return the config of an architecture for the tokenizer of `build_tokenizer`."""
    architecture = ARCHITECTURES[name]
    fields = {"model_type": name, **architecture.config}
    tokens = {"pad_token_id": 0 if architecture.has_padding else None, "bos_token_id": 2, "eos_token_id": 3}
    return AutoConfig.for_model(**fields, **tokens, vocab_size=len(build_tokenizer(architecture)))


def save_checkpoint(name: str, folder: Path) -> Path:
    """Save a checkpoint of an architecture without a head, as it comes from pretraining, and return the folder.

    Its weights are larger than those of a new model, so that every token matters to the output.
    """
    architecture = ARCHITECTURES[name]
    torch.manual_seed(0)
    model = AutoModel.from_config(build_config(name))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(WEIGHT_SCALE if parameter.dim() > 1 else 1.0)
    model.save_pretrained(folder, **architecture.save_options)
    if architecture.is_pickled:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    build_tokenizer(architecture).save_pretrained(folder)
    return folder
