"""builtin:tiny: a BERT small enough for a laptop, not pretrained, with a tokenizer made from the study's texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

# Without dropout: a model this small underfits anyway, and attention dropout would keep it off the fused attention.
TINY_CONFIG = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 256,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
VOCABULARY_SIZE = 2000
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def build_tiny_model(texts: Sequence[str], max_length: int) -> tuple[Any, Any]:
    """Return a WordPiece tokenizer for the texts and the config of a tiny BERT."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, PreTrainedTokenizerFast

    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    word_counts: Counter[str] = Counter()
    for text in texts:
        word_counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    pieces = _build_vocabulary(word_counts)
    tokenizer = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, splitter, decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, pieces.index(name)) for name in ("[CLS]", "[SEP]")]
    )
    token_names = {f"{name[1:-1].lower()}_token": name for name in SPECIAL_TOKENS}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **token_names)
    config = BertConfig(
        vocab_size=len(fast), max_position_embeddings=max(max_length, 64), pad_token_id=0, **TINY_CONFIG
    )
    return fast, config


def _build_vocabulary(word_counts: Counter[str]) -> list[str]:
    """Return special tokens, every character, the most frequent words, and the most frequent word endings.

    WordPieceTrainer of tokenizers breaks ties differently in each process, even in the pieces it chooses, so no score
    on this model could be reproduced with it.
    """
    characters = sorted({character for word in word_counts for character in word})
    ending_counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        ending_counts.update({f"##{word[-size:]}": count for size in range(2, min(6, len(word)))})
    fixed = [*SPECIAL_TOKENS, *characters, *(f"##{character}" for character in characters)]
    room = max(0, VOCABULARY_SIZE - len(fixed))
    words, endings = (
        sorted(counts, key=lambda piece: (-counts[piece], piece)) for counts in (word_counts, ending_counts)
    )
    return list(dict.fromkeys([*fixed, *words[: room * 3 // 4], *endings[: room // 4]]))
