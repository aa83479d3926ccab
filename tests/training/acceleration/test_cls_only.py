"""Tests of cls_only_last_layer: only first tokens pass through the end of the last layer, with the same results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.study.spec import load_study
from hpo.training.acceleration.cls_only import cls_only_last_layer
from hpo.training.trainer import RungTrainer

SMALL: dict[str, Any] = {"vocab_size": 50, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8}
SMALL |= {"intermediate_size": 16, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DISTIL: dict[str, Any] = {"vocab_size": 50, "n_layers": 2, "n_heads": 2, "dim": 8, "hidden_dim": 16, "dropout": 0.0}
DISTIL |= {"attention_dropout": 0.0, "seq_classif_dropout": 0.0}
MODELS = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**SMALL)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**SMALL, max_position_embeddings=40)),
    "distilbert": lambda: DistilBertForSequenceClassification(DistilBertConfig(**DISTIL)),
}


def texts() -> dict[str, torch.Tensor]:
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[1, 5:] = 0
    return {"input_ids": torch.randint(3, 50, (3, 9)), "attention_mask": mask}


def compute_gradients(model: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**inputs, labels=torch.tensor([0, 1, 1])).loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("name", MODELS)
def test_logits_and_gradients_equal_those_of_the_whole_model(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = MODELS[name]().train(), texts()
    logits, expected = model(**inputs).logits, compute_gradients(model, inputs)
    with cls_only_last_layer(model, texts()) as is_cls_only:
        assert is_cls_only and model.training
        assert model.base_model(**inputs).last_hidden_state.shape == (3, 1, 8)
        assert torch.allclose(model(**inputs).logits, logits, atol=1e-6)
        gradients = compute_gradients(model, inputs)
    assert gradients.keys() == expected.keys()
    assert all(torch.allclose(gradients[name], expected[name], atol=1e-6) for name in expected)
    assert model.base_model(**inputs).last_hidden_state.shape == (3, 9, 8)


def test_model_that_reads_other_tokens_is_left_unchanged() -> None:
    class Averaging(BertForSequenceClassification):
        def forward(self, **inputs: Any) -> Any:
            from transformers.modeling_outputs import SequenceClassifierOutput

            hidden = self.base_model(**inputs).last_hidden_state
            return SequenceClassifierOutput(logits=self.classifier(hidden.mean(1)))

    last = GPT2ForSequenceClassification(GPT2Config(vocab_size=50, n_embd=8, n_layer=2, n_head=2, pad_token_id=0))
    for model in (Averaging(BertConfig(**SMALL)), last):
        inputs = texts()
        expected = model.eval()(**inputs).logits
        with cls_only_last_layer(model, texts()) as is_cls_only:
            assert not is_cls_only
            assert torch.equal(model(**inputs).logits, expected)


@pytest.mark.parametrize("speed", ["auto", "exact"])
def test_runs_use_it_unless_speed_is_exact(small: Path, speed: str) -> None:
    trainer = RungTrainer(prepare_context(load_study(small, (f"training.speed={speed}",)), SearchListener())[0])
    seen: list[int] = []

    def pulse(step: int, steps: int, loss: float | None) -> None:
        hooked = trainer.model.base_model.encoder.layer[-1].attention.output
        seen.append(len(hooked._forward_pre_hooks))

    trainer.on_progress = pulse
    trainer.run({}, seed=0)
    assert set(seen) == {0 if speed == "exact" else 1}
    assert not trainer.final_model().base_model.encoder.layer[-1].attention.output._forward_pre_hooks
