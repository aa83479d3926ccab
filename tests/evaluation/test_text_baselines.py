"""Classical baselines: a contract that each of them keeps, and what distinguishes each."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import sparse
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from hpo.data.builtin_corpus import generate_reviews
from hpo.data.cleaning import strip_html
from hpo.errors import DataError
from hpo.evaluation import text_baselines
from hpo.evaluation.text_baselines import TEXT_BASELINES, NbSvm, log_count_ratio

Rows = tuple[list[str], list[int]]
SUBJECTS = ("the acting", "the plot", "the music", "the ending")


def ignore_progress(share: float, description: str) -> None:
    """Ignore the progress of a fit."""


def four_classes(rows: int) -> Rows:
    """Return texts that name one of four subjects, which is the label."""
    texts, _ = generate_reviews(rows, seed=0)
    return [f"{SUBJECTS[row % 4]} {text}" for row, text in enumerate(texts)], [row % 4 for row in range(rows)]


def fit(name: str, rows: Rows, seed: int = 0) -> tuple[Any, dict[str, Any]]:
    model = TEXT_BASELINES[name](seed)
    return model, model.fit(*rows, ignore_progress)


def accuracy(probabilities: NDArray[np.float64], labels: Sequence[int]) -> float:
    return float((probabilities.argmax(axis=1) == np.asarray(labels)).mean())


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", TEXT_BASELINES)
def test_fit_gives_probabilities_progress_and_details(name: str, classes: int) -> None:
    texts, labels = generate_reviews(96, seed=0) if classes == 2 else four_classes(96)
    progress: list[tuple[float, str]] = []
    model = TEXT_BASELINES[name](7)
    details = model.fit(texts, labels, lambda *report: progress.append(report))
    probabilities = model.predict(texts[:5])

    assert probabilities.shape == (5, classes) and probabilities.dtype == np.float64
    assert (probabilities >= 0).all() and np.allclose(probabilities.sum(axis=1), 1)
    assert name == "majority" or accuracy(model.predict(texts), labels) > 0.85
    shares = [share for share, _ in progress]
    assert (
        shares == sorted(shares)
        and shares[0] == 0
        and shares[-1] == 1
        and all(description for _, description in progress)
    )
    assert json.loads(json.dumps(details)) == details and "warnings" not in details

    again, details_again = fit(name, (texts, labels), seed=7)
    assert details_again == details and np.array_equal(again.predict(texts[:5]), probabilities)


@pytest.mark.parametrize("name", TEXT_BASELINES)
def test_labels_are_learned_from_words(name: str) -> None:
    model, _ = fit(name, four_classes(200))
    texts, labels = four_classes(280)
    assert accuracy(model.predict(texts[200:]), labels[200:]) > (0.2 if name == "majority" else 0.7)


@pytest.mark.parametrize("name", TEXT_BASELINES)
def test_rare_class_reduces_the_folds(name: str) -> None:
    texts, labels = generate_reviews(60, seed=0)
    for rare_rows, folds in ((3, 3), (1, None)):
        labels[:rare_rows] = [2] * rare_rows
        model, details = fit(name, (texts, [label % 2 if row >= rare_rows else 2 for row, label in enumerate(labels)]))
        assert model.predict(texts).shape == (60, 3) and np.allclose(model.predict(texts).sum(axis=1), 1)
        if name in ("tfidf-logreg-tuned", "nb-svm"):
            assert details.get("folds") == folds and ("single row" in details.get("note", "")) == (folds is None)


def test_class_of_one_row_fixes_c_and_leaves_two_classes_uncalibrated() -> None:
    rows = ["good film", "fine film", "good plot", "bad film"], [0, 0, 0, 1]
    assert fit("tfidf-logreg-tuned", rows)[1]["C"] == text_baselines.DEFAULT_C
    model, _ = fit("nb-svm", rows)
    assert model.predict(["bad", "good"]).argmax(axis=1).tolist() == [1, 0]


@pytest.mark.parametrize("name", TEXT_BASELINES)
@pytest.mark.parametrize("text", ["", " \n"])
def test_blank_texts_are_an_error(name: str, text: str) -> None:
    if name == "majority":
        assert fit(name, ([text] * 4, [0, 1, 1, 1]))[0].predict([text]).tolist() == [[0.25, 0.75]]
    else:
        with pytest.raises(DataError, match="the 4 training texts are blank"):
            fit(name, ([text] * 4, [0, 1, 1, 1]))


@pytest.mark.parametrize("name", TEXT_BASELINES)
def test_texts_of_unknown_words_get_probabilities(name: str) -> None:
    model, _ = fit(name, generate_reviews(40, seed=0))
    assert np.allclose(model.predict(["", "xyzzy plugh"]).sum(axis=1), 1)


@pytest.mark.parametrize("name", TEXT_BASELINES)
def test_one_text_with_words_is_enough(name: str) -> None:
    model, _ = fit(name, (["good film", "", "", ""], [0, 1, 0, 1]))
    assert np.allclose(model.predict(["good", ""]).sum(axis=1), 1)


def test_words_of_single_texts_are_used_if_there_are_no_others() -> None:
    model, details = fit("tfidf-logreg-tuned", (["good", "bad", "fine", "poor"], [1, 0, 1, 0]))
    assert details["features"] == 4 and model.vectorizer.min_df == 1


def test_untuned_baselines_equal_scikit_learns_pipelines() -> None:
    texts, labels = generate_reviews(200, seed=0)
    for name, plain in (("tfidf-logreg", LogisticRegression()), ("majority", DummyClassifier(strategy="prior"))):
        expected = make_pipeline(TfidfVectorizer(), plain).fit(texts, labels).predict_proba(texts)
        assert np.allclose(fit(name, (texts, labels))[0].predict(texts), expected, rtol=1e-9)


@pytest.mark.parametrize("batch", [10, 33])
def test_forest_grown_in_batches_equals_one_fit(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_baselines, "TREE_BATCH", batch)
    texts, labels = generate_reviews(120, seed=0)
    model, details = fit("bow-forest", (texts, labels), seed=5)
    counts = CountVectorizer()
    forest = RandomForestClassifier(random_state=5).fit(counts.fit_transform(texts), labels)
    others, _ = generate_reviews(50, seed=1)
    assert details["trees"] == len(model.classifier.estimators_) == 100
    assert np.array_equal(model.predict(others), forest.predict_proba(counts.transform(others)))


def test_solver_that_stops_early_is_reported_without_a_warning() -> None:
    model = TEXT_BASELINES["tfidf-logreg"](0)
    (classifier,) = model.fit_classifier.args  # type: ignore[attr-defined]
    classifier.set_params(max_iter=1)
    assert "failed to converge after 1 iteration" in str(
        model.fit(*generate_reviews(50, seed=0), ignore_progress)["warnings"]
    )


def test_tuning_with_warm_starts_equals_cold_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_baselines, "C_GRID", (1.0, 8.0, 64.0))
    texts, labels = generate_reviews(120, seed=0)
    model, details = fit("tfidf-logreg-tuned", (texts, labels))
    features, truth = model.vectorizer.transform(texts), np.asarray(labels)
    losses = np.zeros(len(text_baselines.C_GRID))
    for train, held_out in text_baselines._make_folds(truth, 0).split(features, truth):
        for index, C in enumerate(text_baselines.C_GRID):
            cold = LogisticRegression(C=C, solver="newton-cholesky").fit(features[train], truth[train])
            chances = cold.predict_proba(features[held_out])[np.arange(len(held_out)), truth[held_out]]
            losses[index] -= np.log(chances).sum() / len(truth)
    assert details["C"] == text_baselines.C_GRID[int(losses.argmin())] and details["folds"] == 5
    assert details["log_loss"] == pytest.approx(losses.min(), rel=1e-3)
    cold = LogisticRegression(C=details["C"], solver="newton-cholesky").fit(features, truth)
    assert np.allclose(model.predict(texts), cold.predict_proba(features), atol=1e-3)


def test_fit_can_be_interrupted() -> None:
    def stop(share: float, description: str) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    for name in ("tfidf-logreg-tuned", "bow-forest", "nb-svm"):
        with pytest.raises(KeyboardInterrupt):
            TEXT_BASELINES[name](0).fit(*generate_reviews(60, seed=0), stop)


# Three texts over the words (good, bad, film); the first two are positive.
COUNTS = sparse.csr_matrix([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
POSITIVE = np.array([True, True, False])
# p = 1 + (2, 0, 1) = (3, 1, 2) of 6; q = 1 + (0, 1, 1) = (1, 2, 2) of 5
RATIO = [math.log(3 / 6 / (1 / 5)), math.log(1 / 6 / (2 / 5)), math.log(2 / 6 / (2 / 5))]


def test_log_count_ratio_equals_hand_calculation() -> None:
    assert log_count_ratio(COUNTS, POSITIVE, alpha=1.0) == pytest.approx(RATIO)
    assert log_count_ratio(COUNTS, ~POSITIVE, alpha=1.0) == pytest.approx([-value for value in RATIO])


def test_nb_svm_interpolates_naive_bayes_and_the_svm() -> None:
    scaled = COUNTS.toarray() * RATIO
    weights = LinearSVC(C=0.1, fit_intercept=False, dual=True, random_state=0).fit(scaled, POSITIVE).coef_[0]
    mixed = 0.75 * np.abs(weights).mean() + 0.25 * weights
    scores = NbSvm().fit(COUNTS, POSITIVE.astype(int)).decision_function(COUNTS)
    assert scores == pytest.approx(scaled @ mixed)

    naive_bayes = NbSvm(beta=0.0).fit(COUNTS, POSITIVE.astype(int)).decision_function(COUNTS)
    assert naive_bayes / (COUNTS @ np.array(RATIO)) == pytest.approx([np.abs(weights).mean()] * 3)
    svm = NbSvm(beta=1.0).fit(COUNTS, POSITIVE.astype(int)).decision_function(COUNTS)
    assert svm == pytest.approx(scaled @ weights)


def test_nb_svm_fits_each_of_many_classes_against_the_rest() -> None:
    texts, labels = four_classes(80)
    counts = CountVectorizer(binary=True, dtype=np.float64).fit_transform(texts)
    scores = NbSvm().fit(counts, np.array(labels)).decision_function(counts)
    for label in range(4):
        binary = NbSvm().fit(counts, (np.array(labels) == label).astype(int)).decision_function(counts)
        assert scores[:, label] == pytest.approx(binary)


def test_nb_svm_ignores_words_of_held_out_rows_in_its_mean() -> None:
    wider = sparse.csr_matrix(sparse.hstack([COUNTS, sparse.csr_matrix((3, 5))]))
    narrow = NbSvm(beta=0.0).fit(COUNTS, POSITIVE.astype(int)).coef_[:, 0]
    wide = NbSvm(beta=0.0).fit(wider, POSITIVE.astype(int)).coef_[:3, 0]
    ratios = np.array(RATIO) / log_count_ratio(wider, POSITIVE, 1.0)[:3]
    assert wide * ratios == pytest.approx(narrow, rel=0.2)  # smoothing gives a little weight to the five
    assert (np.sign(wide) == np.sign(narrow)).all()


@pytest.mark.long
def test_stronger_baselines_are_more_accurate_on_real_reviews(shared: Path) -> None:
    def load_imdb(split: str, rows: int) -> Rows:
        table = pd.read_parquet(shared / "data" / "imdb" / f"{split}.parquet").head(rows)
        return [strip_html(text) for text in table["text"]], table["label"].tolist()

    train, (texts, labels) = load_imdb("train", 2_000), load_imdb("test", 1_000)
    accuracies = {}
    for name in TEXT_BASELINES:
        model, details = fit(name, train)
        assert "warnings" not in details
        accuracies[name] = accuracy(model.predict(texts), labels)
    assert accuracies["majority"] < 0.55
    assert min(score for name, score in accuracies.items() if name != "majority") > 0.75
    assert accuracies["tfidf-logreg-tuned"] > accuracies["tfidf-logreg"] > accuracies["bow-forest"]
    assert accuracies["bow-forest"] > accuracies["majority"] and accuracies["nb-svm"] > accuracies["tfidf-logreg"]


def test_forest_gives_the_same_probabilities_every_time() -> None:
    texts, labels = generate_reviews(400, seed=0)
    forest = TEXT_BASELINES["bow-forest"](0)
    forest.fit(texts, labels, lambda share, doing: None)
    assert forest.classifier.n_jobs == 1, "with threads, the order of summation and so the last digits vary"
    first = forest.predict(texts)
    assert all(np.array_equal(forest.predict(texts), first) for _ in range(3))
