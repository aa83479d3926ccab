"""Measure the share of a GPU's peak speed at which a model like DistilBERT (66M parameters) trains on IMDb, 512 tokens.

    python -m benchmarks.throughput

Runs of 300 steps as in a search; the second of two in a process counts, because the first sets the GPU up for each
length of a batch, once per search. Weights are random, because no score is read.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import peak
from benchmarks.real import require_shared_data
from benchmarks.replay import Replay, flop_per_token
from benchmarks.results import markdown_table, write_table

BATCHES = (16, 32)
STEPS = 300


def build_66m_context(folder: Path) -> Any:
    """Return the context of the GPU case, with a model of DistilBERT's shape instead of MiniLM."""
    import torch
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    from hpo.study.spec_tables import ModelSpec
    from hpo.training.acceleration import choose_accelerations
    from hpo.training.checkpoint import Checkpoint, save_model

    task = Replay("gpu", seed=0).context
    config = DistilBertConfig(num_labels=2)
    torch.manual_seed(0)
    save_model(DistilBertForSequenceClassification(config), task.checkpoint.tokenizer, folder)
    spec = ModelSpec(checkpoint=str(folder), max_length=task.spec.model.max_length)
    checkpoint = Checkpoint(spec, [], tuple(task.checkpoint.config.id2label.values()), folder)
    search = task.spec.search.model_copy(update={"rungs": [1.0]})
    task = replace(task, spec=task.spec.model_copy(update={"search": search}), checkpoint=checkpoint)
    return replace(task, accelerations=choose_accelerations(task.spec, checkpoint))


def row(task: Any, batch: int) -> list[object]:
    """Return the cells of one batch size."""
    import torch

    from hpo.training.trainer import RungTrainer

    trainer = RungTrainer(task)
    values = {"learning_rate": 2e-5, "max_steps": STEPS, "per_device_train_batch_size": batch}
    first, second = (trainer.run(values, seed) for seed in (0, 1))
    highest = peak.measure_matmul(torch.bfloat16)
    speed = second.tokens / second.seconds["train"]
    share = speed * flop_per_token(task) / highest / 1e9
    step = 1000 * second.seconds["train"] / STEPS
    whole = (first.seconds["wall"], second.seconds["wall"])
    return [
        batch,
        *(f"{each:.1f}" for each in (*whole, step)),
        f"{speed:,.0f}",
        f"{highest / 1e3:.0f}",
        f"{share:.0%}",
        f"{second.peak_memory / 1e9:.1f}",
    ]


def main() -> None:
    import torch

    require_shared_data()
    if not torch.cuda.is_available():
        raise SystemExit("no NVIDIA GPU here: this benchmark measures the share of its peak speed")
    heads = (
        "texts per batch",
        "first run (s)",
        "second run (s)",
        "ms per step",
        "tokens/s",
        "bf16 peak (TFLOP/s)",
        "share of peak",
        "memory (GB)",
    )
    with tempfile.TemporaryDirectory() as folder:
        task = build_66m_context(Path(folder))
        write_table("throughput", "seeds 0 and 1", markdown_table(heads, [row(task, batch) for batch in BATCHES]))


if __name__ == "__main__":
    main()
