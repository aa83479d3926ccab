"""Every metric is scikit-learn's number, computed here, with the direction it should have."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from hpo.training.metrics import METRICS, evaluate_modules, score_logits, unsuitable_reason

RANDOM = np.random.default_rng(0)


@pytest.fixture(params=[2, 4])
def scored(request: pytest.FixtureRequest) -> tuple[int, np.ndarray, np.ndarray, dict[str, float]]:
    classes = request.param
    logits, labels = RANDOM.normal(size=(60, classes)), np.arange(60) % classes
    return classes, logits, labels, score_logits(evaluate_modules(classes), logits, labels)


def test_each_is_scikit_learns(scored: tuple[int, np.ndarray, np.ndarray, dict[str, float]]) -> None:
    classes, logits, labels, found = scored
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    predicted = logits.argmax(1)
    expected = {
        "accuracy": (predicted == labels).mean(),
        "mcc": sk.matthews_corrcoef(labels, predicted),
        "log_loss": -np.log(probabilities[np.arange(60), labels]).mean(),
    }
    for name, function in {"f1": sk.f1_score, "precision": sk.precision_score, "recall": sk.recall_score}.items():
        for average in ("macro", "weighted"):
            expected[f"{name}_{average}"] = function(labels, predicted, average=average, zero_division=0)
        if classes == 2:
            expected[name] = function(labels, predicted)
    if classes == 2:
        expected["roc_auc"] = sk.roc_auc_score(labels, logits[:, 1] - logits[:, 0])
    else:
        expected["roc_auc"] = sk.roc_auc_score(labels, probabilities, multi_class="ovo")
    assert found == pytest.approx(expected)


def test_enormous_logits_do_not_overflow() -> None:
    found = score_logits(evaluate_modules(2), np.array([[1e4, 0.0], [0.0, 1e4]], dtype=np.float32), np.array([0, 1]))
    assert found["accuracy"] == 1.0 and found["log_loss"] == pytest.approx(0.0, abs=1e-9)


def test_directions_and_what_two_classes_alone_have() -> None:
    assert [name for name, measure in METRICS.items() if measure.direction == "minimize"] == ["log_loss"]
    assert unsuitable_reason("f1", 2) is None
    assert "f1_macro" in (unsuitable_reason("f1", 3) or "")
    assert "did you mean accuracy" in (unsuitable_reason("acuracy", 2) or "")


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_best_where_predictions_are_perfect(name: str) -> None:
    labels = np.array([0, 1] * 10)
    perfect, wrong = np.eye(2)[labels] * 8, np.eye(2)[1 - labels] * 8
    modules = {name: evaluate_modules(2)[name]}
    good, bad = (score_logits(modules, logits, labels)[name] for logits in (perfect, wrong))
    assert (good > bad) == (METRICS[name].direction == "maximize")


@pytest.mark.parametrize("classes", [2, 4])
def test_the_modules_of_evaluate_give_the_same_numbers(classes: int) -> None:
    modules = evaluate_modules(classes)
    labels, probabilities = np.arange(40) % classes, RANDOM.dirichlet(np.ones(classes), size=40)
    for name, number in score_logits(modules, np.log(probabilities), labels).items():
        given = probabilities if METRICS[name].on_probabilities else probabilities.argmax(axis=1)
        assert modules[name].compute(predictions=given, references=labels) == {name: pytest.approx(number)}
