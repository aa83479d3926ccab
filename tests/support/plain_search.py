"""The plain library as its documentation shows it: a tiny classifier and Trainer, nothing of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

CONFIG = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
}


def classifier() -> BertForSequenceClassification:
    """A BERT of a few thousand weights, drawn from torch's present seed."""
    return BertForSequenceClassification(BertConfig(**CONFIG))


def classifier_without_dropout() -> BertForSequenceClassification:
    """The same, whose gradient is a function of weights and rows alone."""
    return BertForSequenceClassification(
        BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **CONFIG)
    )


def rows(count: int = 16, length: int = 8) -> list[dict[str, Any]]:
    """Random token ids with alternating labels."""
    ids = torch.randint(5, 64, (count, length), generator=torch.Generator().manual_seed(0))
    return [
        {"input_ids": row.tolist(), "attention_mask": [1] * length, "labels": place % 2}
        for place, row in enumerate(ids)
    ]


class Watch(TrainerCallback):
    """What each run really used, seen from a callback: one entry per run."""

    def __init__(self) -> None:
        self.heads: list[torch.Tensor] = []  # the classifier's weights before the first step
        self.decays: list[float] = []  # weight decay in the live optimizer
        self.rates: list[list[float]] = []  # learning rate after each step
        self.norms: list[list[float]] = []  # length of the gradient at each step
        self.evaluated: list[list[int]] = []  # steps at which it was evaluated

    def on_train_begin(self, args: Any, state: Any, control: Any, **live: Any) -> None:
        self.heads.append(live["model"].classifier.weight.detach().clone())
        self.decays.append(live["optimizer"].param_groups[0]["weight_decay"])
        self.rates.append([])
        self.norms.append([])
        self.evaluated.append([])

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **live: Any) -> None:
        self.norms[-1].append(gradient_norm(live["model"]))

    def on_step_end(self, args: Any, state: Any, control: Any, **live: Any) -> None:
        self.rates[-1].append(live["lr_scheduler"].get_last_lr()[0])

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.evaluated:
            self.evaluated[-1].append(state.global_step)


def gradient_norm(model: torch.nn.Module) -> float:
    """Length of the whole gradient."""
    return float(torch.stack([each.grad.norm() for each in model.parameters() if each.grad is not None]).norm())


def head_of_seed(seed: int) -> torch.Tensor:
    """The classifier's weights as a seed draws them."""
    set_seed(seed)
    return classifier().classifier.weight.detach().clone()


def scripted(scores: Iterable[float]) -> Callable[[Any], dict[str, float]]:
    """A compute_metrics whose accuracies are these, one per evaluation: what matters is what becomes of them."""
    coming = iter(scores)
    return lambda prediction: {"accuracy": next(coming)}


def trainer(
    folder: Path,
    *callbacks: TrainerCallback,
    compute_metrics: Callable[[Any], dict[str, float]] | None = None,
    model_init: Callable[[], Any] = classifier,
    **arguments: Any,
) -> Trainer:
    """A Trainer on 16 rows in batches of 4, so four steps an epoch."""
    quiet: dict[str, Any] = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
    quiet |= {"use_cpu": True, "dataloader_pin_memory": False}  # pinning warns on a machine without accelerator
    usual = {"num_train_epochs": 1, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 16}
    return Trainer(
        model_init=model_init,
        args=TrainingArguments(output_dir=str(folder), **{**quiet, **usual, **arguments}),
        train_dataset=rows(),
        eval_dataset=rows(),
        compute_metrics=compute_metrics,
        callbacks=list(callbacks),
    )


def search(made: Trainer, space: Callable[[Any], dict[str, Any]], trials: int = 1, **options: Any) -> Any:
    """The best run of Trainer.hyperparameter_search."""
    return made.hyperparameter_search(hp_space=space, n_trials=trials, backend="optuna", **options)
