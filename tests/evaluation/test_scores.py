"""All scores of a run are scikit-learn's, or a hand's; what is undefined is left out, without a warning."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from hpo.evaluation.scores import expected_calibration_error, score_run
from hpo.training.metrics import METRICS, unsuitable_reason

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [2, 3])
def test_each_is_scikit_learns(classes: int) -> None:
    references, names = RANDOM.integers(0, classes, 80), ["bad", "good", "so so"][:classes]
    probabilities = RANDOM.dirichlet(np.ones(classes), 80)
    predicted = probabilities.argmax(axis=1)
    found = score_run(references, probabilities, names)
    fitting = {name for name in METRICS if unsuitable_reason(name, classes) is None}
    assert set(found["metrics"]) == fitting | {"brier", "ece"}
    for name in fitting:
        predictions = probabilities if METRICS[name].on_probabilities else predicted
        assert found["metrics"][name] == pytest.approx(METRICS[name].function(references, predictions))
    report = sk.classification_report(references, predicted, target_names=names, output_dict=True)
    for name in names:
        expected = {key.replace("f1-score", "f1"): value for key, value in report[name].items()}
        assert found["per_class"][name] == pytest.approx(expected)
    assert found["confusion"] == sk.confusion_matrix(references, predicted).tolist()
    # Where there are more than two classes scikit-learn sums over them, as we do; ours of two is half of that.
    squared = ((probabilities - np.eye(classes)[references]) ** 2).sum(axis=1).mean()
    assert found["metrics"]["brier"] == pytest.approx(squared / 2 if classes == 2 else squared)
    if classes == 2:
        assert found["metrics"]["brier"] == pytest.approx(sk.brier_score_loss(references, probabilities[:, 1]))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_calibration_error_by_hand() -> None:
    # Bins of 1/15: 0.61 and 0.65 share (0.6, 0.667], one right; 0.95 and 1.0 share the last, both right; 0.6 is alone.
    confident = np.array([0.61, 0.65, 0.95, 1.0, 0.6])
    probabilities, references = np.column_stack([confident, 1 - confident]), np.array([0, 1, 0, 0, 1])
    expected = 2 / 5 * abs(0.63 - 0.5) + 2 / 5 * abs(0.975 - 1) + 1 / 5 * 0.6
    assert expected_calibration_error(references, probabilities) == pytest.approx(expected)


def test_confidence_that_is_as_often_right_is_calibrated() -> None:
    confident = RANDOM.uniform(0.5, 1.0, 100_000)
    references = (RANDOM.random(100_000) > confident).astype(int)  # class 0 with the confidence's chance
    probabilities = np.column_stack([confident, 1 - confident])
    assert expected_calibration_error(references, probabilities) < 0.01
    assert expected_calibration_error(references, np.eye(2)[np.zeros(100_000, dtype=int)]) == pytest.approx(
        references.mean()
    )


@pytest.mark.parametrize(("classes", "references"), [(2, [0] * 6), (3, [0, 2] * 3), (3, [1] * 6)])
def test_labels_that_do_not_occur(classes: int, references: list[int]) -> None:
    constant = np.tile(np.eye(classes)[0], (6, 1))
    found = score_run(np.array(references), constant, ["a", "b", "c"][:classes])
    assert ("roc_auc" in found["metrics"]) == (len(set(references)) > 1)
    assert np.isfinite(found["metrics"]["log_loss"]) and found["metrics"]["accuracy"] == np.mean(
        np.equal(references, 0)
    )
    assert found["per_class"]["b"]["support"] == references.count(1) and np.shape(found["confusion"]) == (classes,) * 2
    json.dumps(found, allow_nan=False)


def test_single_precision_is_precise_enough() -> None:
    wide = RANDOM.dirichlet([1, 1, 1], 5000)
    references = RANDOM.integers(0, 3, 5000)
    narrow = score_run(references, wide.astype(np.float32), ["a", "b", "c"])["metrics"]
    assert narrow == pytest.approx(score_run(references, wide, ["a", "b", "c"])["metrics"], rel=1e-4)
