"""The baseline `pretrained`: the checkpoint without fine-tuning."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.data.splits import Split
from hpo.evaluation.final_runs import FinalRuns, RunKey, RunOutcome, predict_splits
from hpo.evaluation.retraining import predict_split
from hpo.store.run_record import run_attributes


def fit_pretrained(final: FinalRuns, run: RunKey, name: str) -> RunOutcome:
    """Predict with the checkpoint's own head if it has the study's labels, else with a linear probe."""
    from transformers import set_seed

    from hpo.training.inference import to_accelerator

    set_seed(run.seed)  # of weights that a checkpoint lacks: all of them for builtin:tiny
    model = to_accelerator(final.checkpoint.fresh())
    if not final.checkpoint.has_head:
        return _fit_linear_probe(final, model)
    validation, test, seconds = predict_splits(final, lambda split: predict_split(final, model, split))
    attributes = run_attributes(effective={"as": "the checkpoint as it is, with its own head"})
    return RunOutcome(validation, test, {"fit": 0.0, "predict": seconds, "wall": seconds}, attributes)


def _fit_linear_probe(final: FinalRuns, model: Any) -> RunOutcome:
    """Fit a logistic regression to the model's frozen, mean-pooled embeddings."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from hpo.training.inference import mean_embeddings

    def embed(split: Split) -> NDArray[Any]:
        def on_batch(done: int, count: int) -> None:
            final.stop.check()
            final.listener.step(done / count, f"embedding {done:,} of {count:,}")

        return mean_embeddings(model, final.checkpoint.tokenizer, final.tokens(split), on_batch)

    started = time.monotonic()
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    probe.fit(embed(final.train), np.asarray(final.train.labels))
    fit_seconds = time.monotonic() - started
    validation, test, seconds = predict_splits(final, lambda split: probe.predict_proba(embed(split)))
    times = {"fit": fit_seconds, "predict": seconds, "wall": fit_seconds + seconds}
    attributes = run_attributes(effective={"as": "a linear probe on its frozen, mean-pooled embeddings"})
    return RunOutcome(validation, test, times, attributes)
