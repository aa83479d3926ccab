"""builtin:tiny: a tokenizer for the texts at hand, and a BERT small enough for a laptop, which starts from nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

# Without dropout: a model so small underfits as it is, and attention dropout keeps it off the fast path.
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
    """A WordPiece tokenizer for the texts, and the config of a BERT small enough for a laptop."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, PreTrainedTokenizerFast

    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    pieces = _vocabulary(words)
    tokenizer = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, splitter, decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, pieces.index(name)) for name in ("[CLS]", "[SEP]")]
    )
    names = {f"{name[1:-1].lower()}_token": name for name in SPECIAL_TOKENS}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **names)
    config = BertConfig(
        vocab_size=len(fast), max_position_embeddings=max(max_length, 64), pad_token_id=0, **TINY_CONFIG
    )
    return fast, config


def _vocabulary(words: Counter[str]) -> list[str]:
    """Special tokens, every character, the most frequent words, and the most frequent endings of words.

    tokenizers' own WordPieceTrainer breaks ties differently in each process, down to the pieces it chooses; then no
    score on this model could ever be reproduced.
    """
    characters = sorted({character for word in words for character in word})
    endings: Counter[str] = Counter()
    for word, count in words.items():
        endings.update({f"##{word[-size:]}": count for size in range(2, min(6, len(word)))})
    fixed = [*SPECIAL_TOKENS, *characters, *(f"##{character}" for character in characters)]
    room = max(0, VOCABULARY_SIZE - len(fixed))
    ranked = [sorted(count, key=lambda piece: (-count[piece], piece)) for count in (words, endings)]
    return list(dict.fromkeys([*fixed, *ranked[0][: room * 3 // 4], *ranked[1][: room // 4]]))
