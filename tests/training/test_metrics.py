"""Tests of METRICS: values are those of scikit-learn, with directions, modules of evaluate, and other packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import evaluate
import numpy as np
import pytest
from sklearn import metrics as sk

from hpo import plugins
from hpo.training import metrics
from hpo.training.metrics import METRICS, evaluate_module, score_logits, suitable_metrics, unsuitable_reason

RANDOM = np.random.default_rng(0)
Scored = tuple[int, np.ndarray, np.ndarray, dict[str, float]]


@pytest.fixture(params=[2, 4])
def scored(request: pytest.FixtureRequest) -> Scored:
    """Classes, logits, labels, and the scores of random predictions."""
    classes = request.param
    logits, labels = RANDOM.normal(size=(60, classes)), np.arange(60) % classes
    return classes, logits, labels, score_logits(suitable_metrics(classes), logits, labels)


def test_metrics_equal_those_of_scikit_learn(scored: Scored) -> None:
    classes, logits, labels, scores = scored
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    predicted = logits.argmax(1)
    expected = {
        "accuracy": (predicted == labels).mean(),
        "balanced_accuracy": np.mean([(predicted[labels == label] == label).mean() for label in range(classes)]),
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
    assert scores == pytest.approx(expected)


def test_balanced_accuracy_weighs_classes_equally_whatever_their_size() -> None:
    labels = np.array([0] * 8 + [1] * 2)
    always_first = np.tile([2.0, 0.0], (10, 1))
    scores = score_logits(suitable_metrics(2), always_first, labels)
    assert (scores["accuracy"], scores["balanced_accuracy"]) == (0.8, 0.5)


def test_balanced_accuracy_ignores_classes_without_rows() -> None:
    logits, labels = np.eye(3)[[0, 1, 2, 1]], np.array([0, 1, 0, 1])
    assert score_logits(suitable_metrics(3), logits, labels)["balanced_accuracy"] == 0.75


def test_enormous_logits_do_not_overflow() -> None:
    scores = score_logits(suitable_metrics(2), np.array([[1e4, 0.0], [0.0, 1e4]], dtype=np.float32), np.array([0, 1]))
    assert scores["accuracy"] == 1.0 and scores["log_loss"] == pytest.approx(0.0, abs=1e-9)


def test_directions_and_tasks() -> None:
    assert [name for name, metric in METRICS.items() if metric.direction == "minimize"] == ["log_loss"]
    assert {name for name, metric in METRICS.items() if metric.tasks == {"binary"}} == {"f1", "precision", "recall"}
    assert unsuitable_reason("f1", 2) is None
    assert (
        unsuitable_reason("f1", 3) == "is 'f1', which is for two classes; the data have 3: use f1_macro or f1_weighted"
    )
    assert "did you mean accuracy" in (unsuitable_reason("acuracy", 2) or "")


def test_every_metric_says_how_it_is_shown_and_resampled() -> None:
    assert all(metric.label and metric.heading for metric in METRICS.values())
    assert len({metric.heading for metric in METRICS.values()}) == len(METRICS)
    assert {name for name, metric in METRICS.items() if metric.unit != "points"} == {"log_loss"}
    by_resampling = {
        kind: {name for name, metric in METRICS.items() if metric.resample == kind}
        for kind in ("mean_of_rows", "auc", None)
    }
    assert by_resampling == {
        "mean_of_rows": {"accuracy", "log_loss"},
        "auc": {"roc_auc"},
        None: set(),
    }


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_best_if_predictions_are_perfect(name: str) -> None:
    labels = np.array([0, 1] * 10)
    perfect, wrong = np.eye(2)[labels] * 8, np.eye(2)[1 - labels] * 8
    good, bad = (score_logits({name: METRICS[name]}, logits, labels)[name] for logits in (perfect, wrong))
    assert (good > bad) == (METRICS[name].direction == "maximize")


@pytest.mark.parametrize("classes", [2, 4])
def test_modules_of_evaluate_give_the_same_numbers(classes: int) -> None:
    labels, probabilities = np.arange(40) % classes, RANDOM.dirichlet(np.ones(classes), size=40)
    for name, score in score_logits(suitable_metrics(classes), np.log(probabilities), labels).items():
        predictions = probabilities if METRICS[name].needs_probabilities else probabilities.argmax(axis=1)
        module = evaluate_module(name)
        assert isinstance(module, evaluate.Metric)
        assert module.compute(predictions=predictions, references=labels) == {name: pytest.approx(score)}


def test_metrics_that_share_a_module_take_the_same_predictions() -> None:
    scores = evaluate_module("recall_macro", "accuracy").compute(predictions=[0, 1, 1, 1], references=[0, 0, 0, 1])
    assert scores == {"recall_macro": pytest.approx((1 / 3 + 1) / 2), "accuracy": 0.5}
    with pytest.raises(ValueError, match="accuracy, log_loss: expected metrics of labels alone"):
        evaluate_module("accuracy", "log_loss")


PLUGIN = """
from hpo.training.metrics import Metric
cost = Metric(lambda references, predictions: float((references != predictions).sum()), "minimize", unit="")
wrong = "no metric"
"""


@pytest.fixture
def plugin_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that adds metrics by entry points: a module, and its dist-info."""
    (tmp_path / "cost_metric.py").write_text(PLUGIN)
    info = tmp_path / "cost_metric-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cost-metric\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cost_metric", raising=False)
    monkeypatch.setattr(metrics, "METRICS", dict(METRICS))
    plugins.load_entry_points.cache_clear()
    return info / "entry_points.txt"


@pytest.fixture(autouse=True)
def _forget_entry_points() -> Iterator[None]:
    yield
    plugins.load_entry_points.cache_clear()


def test_metric_of_an_installed_package_is_added_by_its_entry_point(plugin_package: Path) -> None:
    plugin_package.write_text("[hpo.metrics]\ncost = cost_metric:cost\naccuracy = cost_metric:cost\n")
    metrics._add_plugin_metrics()
    assert metrics.METRICS["accuracy"] is METRICS["accuracy"]
    labels = np.array([0, 1, 1])
    assert score_logits({"cost": metrics.METRICS["cost"]}, np.eye(2)[[0, 0, 0]], labels) == {"cost": 2.0}
    assert unsuitable_reason("cost", 2) is None and "cost" not in METRICS


@pytest.mark.parametrize(("target", "message"), [("wrong", "must be an hpo.training.metrics.Metric"), ("x", "cannot")])
def test_unusable_metric_of_a_package_is_left_out_with_a_warning(
    plugin_package: Path, target: str, message: str
) -> None:
    plugin_package.write_text(f"[hpo.metrics]\ncost = cost_metric:{target}\n")
    with pytest.warns(UserWarning, match=message):
        metrics._add_plugin_metrics()
    assert "cost" not in metrics.METRICS
