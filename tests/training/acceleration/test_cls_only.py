"""Where only the first token is read, only it goes through the end of the last layer, and nothing else changes."""

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
from hpo.search.worker import prepare_context
from hpo.study.spec import load_study
from hpo.training.acceleration.cls_only import cls_only_last_layer
from hpo.training.trainer import RungTrainer

SMALL: dict[str, Any] = {"vocab_size": 50, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8}
SMALL |= {"intermediate_size": 16, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DISTIL: dict[str, Any] = {"vocab_size": 50, "n_layers": 2, "n_heads": 2, "dim": 8, "hidden_dim": 16, "dropout": 0.0}
DISTIL |= {"attention_dropout": 0.0, "seq_classif_dropout": 0.0}
READERS = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**SMALL)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**SMALL, max_position_embeddings=40)),
    "distilbert": lambda: DistilBertForSequenceClassification(DistilBertConfig(**DISTIL)),
}


def texts() -> dict[str, torch.Tensor]:
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[1, 5:] = 0
    return {"input_ids": torch.randint(3, 50, (3, 9)), "attention_mask": mask}


def gradients(model: Any, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**given, labels=torch.tensor([0, 1, 1])).loss.backward()
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("name", READERS)
def test_logits_and_gradients_are_those_of_the_whole_model(name: str) -> None:
    torch.manual_seed(0)
    model, given = READERS[name]().train(), texts()
    logits, wanted = model(**given).logits, gradients(model, given)
    with cls_only_last_layer(model, texts()) as are_alone:
        assert are_alone and model.training
        assert model.base_model(**given).last_hidden_state.shape == (3, 1, 8)
        assert torch.allclose(model(**given).logits, logits, atol=1e-6)
        found = gradients(model, given)
    assert found.keys() == wanted.keys()
    assert all(torch.allclose(found[each], wanted[each], atol=1e-6) for each in wanted)
    assert model.base_model(**given).last_hidden_state.shape == (3, 9, 8)


def test_a_model_that_reads_other_tokens_is_left_as_it_is() -> None:
    class Averaging(BertForSequenceClassification):
        def forward(self, **given: Any) -> Any:
            from transformers.modeling_outputs import SequenceClassifierOutput

            hidden = self.base_model(**given).last_hidden_state
            return SequenceClassifierOutput(logits=self.classifier(hidden.mean(1)))

    last = GPT2ForSequenceClassification(GPT2Config(vocab_size=50, n_embd=8, n_layer=2, n_head=2, pad_token_id=0))
    for model in (Averaging(BertConfig(**SMALL)), last):
        given = texts()
        wanted = model.eval()(**given).logits
        with cls_only_last_layer(model, texts()) as are_alone:
            assert not are_alone
            assert torch.equal(model(**given).logits, wanted)


@pytest.mark.parametrize("speed", ["auto", "exact"])
def test_a_run_does_it_unless_it_is_to_be_exact(small: Path, speed: str) -> None:
    trainer = RungTrainer(prepare_context(load_study(small, (f"training.speed={speed}",)), SearchListener())[0])
    seen: list[int] = []

    def pulse(step: int, steps: int, loss: float | None) -> None:
        hooked = trainer.model.base_model.encoder.layer[-1].attention.output
        seen.append(len(hooked._forward_pre_hooks))

    trainer.pulse = pulse
    trainer.run({}, seed=0)
    assert set(seen) == {0 if speed == "exact" else 1}
    assert not trainer.settled().base_model.encoder.layer[-1].attention.output._forward_pre_hooks
