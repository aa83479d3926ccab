"""The baseline `pretrained`: the checkpoint without fine-tuning."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.data.splits import Split
from hpo.evaluation.final_runs import FinalRuns, RunKey, RunOutcome, predict_splits
from hpo.evaluation.refitted_model import RefittedModel
from hpo.evaluation.retraining import predict_split
from hpo.store.run_record import run_attributes
from hpo.training.checkpoint import save_model
from hpo.training.head_labels import list_labels
from hpo.training.model_folder import LINEAR_PROBE, TRANSFORMER

MAX_P = 0.001  # for a claim that the labels of a head are in another order


def fit_pretrained(final: FinalRuns, run: RunKey, name: str) -> RunOutcome:
    """Predict with the checkpoint's own head if it has the study's labels, else with a linear probe."""
    model = _load_checkpoint(final, run)
    if not final.checkpoint.has_head:
        return _predict_with_probe(final, model)
    validation, test, seconds = predict_splits(final, lambda split: predict_split(final, model, split))
    labels = describe_labels(final, name, final.checkpoint.assumed_labels, validation)
    description = f"the checkpoint as it is, with its own head{labels}"
    attributes = run_attributes(effective={"as": description})
    return RunOutcome(validation, test, {"fit": 0.0, "predict": seconds, "wall": seconds}, attributes)


def refit_pretrained(final: FinalRuns, run: RunKey, name: str) -> RefittedModel:
    """Load the checkpoint's own head, or fit the linear probe once more."""
    from hpo.evaluation.linear_probe import LinearHead, write_linear_probe

    model, tokenizer, length = _load_checkpoint(final, run), final.checkpoint.tokenizer, final.spec.model.max_length
    if final.checkpoint.has_head:
        validation = predict_split(final, model, final.data.validation)
        return RefittedModel(TRANSFORMER, validation, partial(save_model, model, tokenizer), length)
    probe = _fit_linear_probe(final, model)
    validation = probe.predict_proba(_embed(final, model, final.data.validation))
    write = partial(write_linear_probe, model, tokenizer, LinearHead.from_pipeline(probe))
    return RefittedModel(LINEAR_PROBE, validation, write, length)


def _load_checkpoint(final: FinalRuns, run: RunKey) -> Any:
    from transformers import set_seed

    from hpo.training.inference import to_accelerator

    set_seed(run.seed)  # of weights that a checkpoint lacks: all of them for builtin:tiny
    return to_accelerator(final.checkpoint.fresh())


def describe_labels(final: FinalRuns, name: str, assumed: str, validation: NDArray[Any]) -> str:
    """Return what a description must add about the labels of a head; give a notice if another order fits far better.

    Args:
        final: The final runs.
        name: The baseline.
        assumed: What the labels are taken to mean, if only their order says it; else empty.
        validation: Class probabilities (n, k) for the validation rows.
    """
    addition = f", assuming {assumed}" if assumed else ""
    if better := find_better_order(validation, final.data.validation.labels, final.data.label_names):
        addition += f"; {better}"
        final.listener.notice(f"{name}: {better}")
    return addition


def find_better_order(probabilities: NDArray[Any], labels: Sequence[int], names: Sequence[str]) -> str | None:
    """Describe the order of the head's labels that fits validation best, if it is far better than the present one.

    A head whose labels are in another order than assumed looks like a bad model. The order that gets most rows right is
    compared with the present one by an exact sign test over the rows on which they disagree, corrected for the number
    of orders that there are.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import binomtest

    truth, predicted = np.asarray(labels), probabilities.argmax(axis=1)
    count = len(names)
    counts = np.bincount(truth * count + predicted, minlength=count * count).reshape(count, count)
    meanings = linear_sum_assignment(counts.T, maximize=True)[1]  # for each row of the head, the label that it means
    gained = int(((meanings[predicted] == truth) & (predicted != truth)).sum())
    lost = int(((meanings[predicted] != truth) & (predicted == truth)).sum())
    if gained <= lost:
        return None
    p = binomtest(gained, gained + lost).pvalue
    if p == 0.0 or math.log(p) + math.lgamma(count + 1) < math.log(MAX_P):
        moved = [f"{names[row]} as {names[label]}" for row, label in enumerate(meanings) if row != label]
        right, better = float((predicted == truth).mean()), float((meanings[predicted] == truth).mean())
        return (
            f"its labels seem to be in another order: on validation it has {right:.1%} of the rows right, and "
            f"{better:.1%} reading {list_labels(moved)}; rename the labels in id2label of its config.json"
        )
    return None


def _predict_with_probe(final: FinalRuns, model: Any) -> RunOutcome:
    started = time.monotonic()
    probe = _fit_linear_probe(final, model)
    fit_seconds = time.monotonic() - started
    validation, test, seconds = predict_splits(
        final, lambda split: np.asarray(probe.predict_proba(_embed(final, model, split)))
    )
    times = {"fit": fit_seconds, "predict": seconds, "wall": fit_seconds + seconds}
    attributes = run_attributes(effective={"as": "a linear probe on its frozen, mean-pooled embeddings"})
    return RunOutcome(validation, test, times, attributes)


def _fit_linear_probe(final: FinalRuns, model: Any) -> Any:
    """Fit a logistic regression to the model's frozen, mean-pooled embeddings of train."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    return probe.fit(_embed(final, model, final.train), np.asarray(final.train.labels))


def _embed(final: FinalRuns, model: Any, split: Split) -> NDArray[Any]:
    from hpo.training.inference import mean_embeddings

    return mean_embeddings(model, final.checkpoint.tokenizer, final.tokens(split), final.report_texts("embedding"))
