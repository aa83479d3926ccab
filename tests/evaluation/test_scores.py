"""Scores of a run: equal to scikit-learn's or to a hand calculation; undefined ones are left out without a warning."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from hpo.evaluation.scores import compute_metric, expected_calibration_error, normalize_rows, score_run, summarize_seeds
from hpo.training.metrics import METRICS, unsuitable_reason

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_equal_scikit_learns(classes: int) -> None:
    references, names = RANDOM.integers(0, classes, 80), ["bad", "good", "so so"][:classes]
    probabilities = RANDOM.dirichlet(np.ones(classes), 80)
    predicted = probabilities.argmax(axis=1)
    scores = score_run(references, probabilities, names)
    fitting = {name for name in METRICS if unsuitable_reason(name, classes) is None}
    assert set(scores.metrics) == fitting | {"brier", "ece"}
    for name in fitting:
        predictions = probabilities if METRICS[name].needs_probabilities else predicted
        assert scores.metrics[name] == pytest.approx(METRICS[name].function(references, predictions))
    report = sk.classification_report(references, predicted, target_names=names, output_dict=True)
    for name in names:
        expected = {key.replace("f1-score", "f1"): value for key, value in report[name].items()}
        assert scores.per_class[name] == pytest.approx(expected)
    assert scores.confusion == sk.confusion_matrix(references, predicted).tolist()
    # With more than two classes scikit-learn sums over them, as we do; ours of two classes is half of that sum.
    squared = ((probabilities - np.eye(classes)[references]) ** 2).sum(axis=1).mean()
    assert scores.metrics["brier"] == pytest.approx(squared / 2 if classes == 2 else squared)
    if classes == 2:
        assert scores.metrics["brier"] == pytest.approx(sk.brier_score_loss(references, probabilities[:, 1]))
    attribute = scores.to_attribute()
    assert json.loads(json.dumps(attribute, allow_nan=False)) == attribute


@pytest.mark.parametrize("classes", [2, 4])
def test_evaluate_modules_give_the_same_numbers_to_the_last_digit(classes: int) -> None:
    references = RANDOM.integers(0, classes, 500)
    probabilities = normalize_rows(RANDOM.dirichlet(np.ones(classes), 500).astype(np.float32))
    scores = score_run(references, probabilities, [str(label) for label in range(classes)]).metrics
    for name in scores.keys() - {"brier", "ece"}:
        assert scores[name] == compute_metric(name, references, normalize_rows(probabilities))


def test_calibration_error_equals_hand_calculation() -> None:
    # Bins of 1/15: 0.61 and 0.65 share (0.6, 0.667], one right; 0.95 and 1.0 share the last, both right; 0.6 is alone.
    confidence = np.array([0.61, 0.65, 0.95, 1.0, 0.6])
    probabilities, references = np.column_stack([confidence, 1 - confidence]), np.array([0, 1, 0, 0, 1])
    expected = 2 / 5 * abs(0.63 - 0.5) + 2 / 5 * abs(0.975 - 1) + 1 / 5 * 0.6
    assert expected_calibration_error(references, probabilities) == pytest.approx(expected)


def test_calibration_error_is_small_if_confidence_equals_accuracy() -> None:
    confidence = RANDOM.uniform(0.5, 1.0, 100_000)
    references = (RANDOM.random(100_000) > confidence).astype(int)  # class 0 with the probability of the confidence
    probabilities = np.column_stack([confidence, 1 - confidence])
    assert expected_calibration_error(references, probabilities) < 0.01
    assert expected_calibration_error(references, np.eye(2)[np.zeros(100_000, dtype=int)]) == pytest.approx(
        references.mean()
    )


@pytest.mark.parametrize(("classes", "references"), [(2, [0] * 6), (3, [0, 2] * 3), (3, [1] * 6)])
def test_missing_labels_leave_out_undefined_metrics(classes: int, references: list[int]) -> None:
    constant = np.tile(np.eye(classes)[0], (6, 1))
    scores = score_run(np.array(references), constant, ["a", "b", "c"][:classes])
    assert ("roc_auc" in scores.metrics) == (len(set(references)) > 1)
    assert np.isfinite(scores.metrics["log_loss"]) and scores.metrics["accuracy"] == np.mean(np.equal(references, 0))
    assert scores.per_class["b"]["support"] == references.count(1) and np.shape(scores.confusion) == (classes,) * 2
    json.dumps(scores.to_attribute(), allow_nan=False)


def test_single_precision_is_precise_enough() -> None:
    wide = RANDOM.dirichlet([1, 1, 1], 5000)
    references = RANDOM.integers(0, 3, 5000)
    narrow = score_run(references, wide.astype(np.float32), ["a", "b", "c"]).metrics
    assert narrow == pytest.approx(score_run(references, wide, ["a", "b", "c"]).metrics, rel=1e-4)


def test_summary_of_a_single_run_has_no_standard_deviation() -> None:
    assert summarize_seeds([0.5]).sd is None
    summary = summarize_seeds([0.5, 0.7])
    assert summary.mean == pytest.approx(0.6) and summary.sd == pytest.approx(np.std([0.5, 0.7], ddof=1))
