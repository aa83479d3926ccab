"""What holds for every classical baseline, and what each of them is known by."""

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


def quiet(share: float, doing: str) -> None:
    """Nobody listens."""


def four_classes(rows: int) -> Rows:
    """Texts that name one of four subjects, which is the label."""
    texts, _ = generate_reviews(rows, seed=0)
    return [f"{SUBJECTS[row % 4]} {text}" for row, text in enumerate(texts)], [row % 4 for row in range(rows)]


def fitted(name: str, rows: Rows, seed: int = 0) -> tuple[Any, dict[str, Any]]:
    model = TEXT_BASELINES[name](seed)
    return model, model.fit(*rows, quiet)


def accuracy(probabilities: NDArray[np.float64], labels: Sequence[int]) -> float:
    return float((probabilities.argmax(axis=1) == np.asarray(labels)).mean())


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", TEXT_BASELINES)
def test_probabilities_progress_and_findings(name: str, classes: int) -> None:
    texts, labels = generate_reviews(96, seed=0) if classes == 2 else four_classes(96)
    told: list[tuple[float, str]] = []
    model = TEXT_BASELINES[name](7)
    found = model.fit(texts, labels, lambda *what: told.append(what))
    probabilities = model.predict(texts[:5])

    assert probabilities.shape == (5, classes) and probabilities.dtype == np.float64
    assert (probabilities >= 0).all() and np.allclose(probabilities.sum(axis=1), 1)
    assert name == "majority" or accuracy(model.predict(texts), labels) > 0.85
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1 and all(doing for _, doing in told)
    assert json.loads(json.dumps(found)) == found and "warnings" not in found

    again, found_again = fitted(name, (texts, labels), seed=7)
    assert found_again == found and np.array_equal(again.predict(texts[:5]), probabilities)


@pytest.mark.parametrize("name", TEXT_BASELINES)
def test_labels_are_learnt_from_words(name: str) -> None:
    model, _ = fitted(name, four_classes(200))
    texts, labels = four_classes(280)
    assert accuracy(model.predict(texts[200:]), labels[200:]) > (0.2 if name == "majority" else 0.7)


@pytest.mark.parametrize("name", TEXT_BASELINES)
def test_a_rare_class_is_coped_with(name: str) -> None:
    texts, labels = generate_reviews(60, seed=0)
    for rows_of_it, folds in ((3, 3), (1, None)):
        labels[:rows_of_it] = [2] * rows_of_it
        model, found = fitted(name, (texts, [label % 2 if at >= rows_of_it else 2 for at, label in enumerate(labels)]))
        assert model.predict(texts).shape == (60, 3) and np.allclose(model.predict(texts).sum(axis=1), 1)
        if name in ("tfidf-logreg-tuned", "nb-svm"):
            assert found.get("folds") == folds and ("single row" in found.get("note", "")) == (folds is None)


def test_a_class_of_one_row_fixes_c_and_leaves_two_classes_uncalibrated() -> None:
    rows = ["good film", "fine film", "good plot", "bad film"], [0, 0, 0, 1]
    assert fitted("tfidf-logreg-tuned", rows)[1]["C"] == text_baselines.DEFAULT_C
    model, _ = fitted("nb-svm", rows)
    assert model.predict(["bad", "good"]).argmax(axis=1).tolist() == [1, 0]


@pytest.mark.parametrize("name", TEXT_BASELINES)
@pytest.mark.parametrize("text", ["", " \n", "?! ..."])
def test_texts_without_words_are_an_error_that_says_so(name: str, text: str) -> None:
    if name == "majority":
        assert fitted(name, ([text] * 4, [0, 1, 1, 1]))[0].predict([text]).tolist() == [[0.25, 0.75]]
    else:
        with pytest.raises(DataError, match="the 4 training texts hold no words to count"):
            fitted(name, ([text] * 4, [0, 1, 1, 1]))


@pytest.mark.parametrize("name", TEXT_BASELINES)
def test_texts_of_unknown_words_get_probabilities_too(name: str) -> None:
    model, _ = fitted(name, generate_reviews(40, seed=0))
    assert np.allclose(model.predict(["", "xyzzy plugh"]).sum(axis=1), 1)


@pytest.mark.parametrize("name", TEXT_BASELINES)
def test_one_text_with_words_is_enough(name: str) -> None:
    model, _ = fitted(name, (["good film", "", "", ""], [0, 1, 0, 1]))
    assert np.allclose(model.predict(["good", ""]).sum(axis=1), 1)


def test_words_that_stand_in_one_text_only_are_better_than_none() -> None:
    model, found = fitted("tfidf-logreg-tuned", (["good", "bad", "fine", "poor"], [1, 0, 1, 0]))
    assert found["features"] == 4 and model.vectorizer.min_df == 1


def test_the_plain_ones_are_what_scikit_learn_gives() -> None:
    texts, labels = generate_reviews(200, seed=0)
    for name, plain in (("tfidf-logreg", LogisticRegression()), ("majority", DummyClassifier(strategy="prior"))):
        expected = make_pipeline(TfidfVectorizer(), plain).fit(texts, labels).predict_proba(texts)
        assert np.allclose(fitted(name, (texts, labels))[0].predict(texts), expected, rtol=1e-9)


@pytest.mark.parametrize("at_once", [10, 33])
def test_a_forest_grown_in_steps_is_the_one_grown_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_baselines, "TREE_BATCH", at_once)
    texts, labels = generate_reviews(120, seed=0)
    model, found = fitted("bow-forest", (texts, labels), seed=5)
    counts = CountVectorizer()
    forest = RandomForestClassifier(random_state=5).fit(counts.fit_transform(texts), labels)
    others, _ = generate_reviews(50, seed=1)
    assert found["trees"] == len(model.classifier.estimators_) == 100
    assert np.array_equal(model.predict(others), forest.predict_proba(counts.transform(others)))


def test_a_solver_that_stops_early_is_told_and_does_not_warn() -> None:
    model = TEXT_BASELINES["tfidf-logreg"](0)
    (plain,) = model.learn.args  # type: ignore[attr-defined]
    plain.set_params(max_iter=1)
    assert "failed to converge after 1 iteration" in str(model.fit(*generate_reviews(50, seed=0), quiet)["warnings"])


def test_tuning_finds_what_cold_fits_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_baselines, "C_GRID", (1.0, 8.0, 64.0))
    texts, labels = generate_reviews(120, seed=0)
    model, found = fitted("tfidf-logreg-tuned", (texts, labels))
    features, truth = model.vectorizer.transform(texts), np.asarray(labels)
    losses = np.zeros(len(text_baselines.C_GRID))
    for rest, held in text_baselines._folds(truth, 0).split(features, truth):
        for place, C in enumerate(text_baselines.C_GRID):
            cold = LogisticRegression(C=C, solver="newton-cholesky").fit(features[rest], truth[rest])
            chances = cold.predict_proba(features[held])[np.arange(len(held)), truth[held]]
            losses[place] -= np.log(chances).sum() / len(truth)
    assert found["C"] == text_baselines.C_GRID[int(losses.argmin())] and found["folds"] == 5
    assert found["log_loss"] == pytest.approx(losses.min(), rel=1e-3)
    cold = LogisticRegression(C=found["C"], solver="newton-cholesky").fit(features, truth)
    assert np.allclose(model.predict(texts), cold.predict_proba(features), atol=1e-3)


def test_stopping_in_the_middle_is_possible() -> None:
    def stop(share: float, doing: str) -> None:
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


def test_the_log_count_ratio_by_hand() -> None:
    assert log_count_ratio(COUNTS, POSITIVE, alpha=1.0) == pytest.approx(RATIO)
    assert log_count_ratio(COUNTS, ~POSITIVE, alpha=1.0) == pytest.approx([-value for value in RATIO])


def test_nb_svm_mixes_naive_bayes_and_the_svm() -> None:
    scaled = COUNTS.toarray() * RATIO
    weights = LinearSVC(C=0.1, fit_intercept=False, dual=True, random_state=0).fit(scaled, POSITIVE).coef_[0]
    mixed = 0.75 * np.abs(weights).mean() + 0.25 * weights
    scores = NbSvm().fit(COUNTS, POSITIVE.astype(int)).decision_function(COUNTS)
    assert scores == pytest.approx(scaled @ mixed)

    naive_bayes = NbSvm(beta=0.0).fit(COUNTS, POSITIVE.astype(int)).decision_function(COUNTS)
    assert naive_bayes / (COUNTS @ np.array(RATIO)) == pytest.approx([np.abs(weights).mean()] * 3)
    svm = NbSvm(beta=1.0).fit(COUNTS, POSITIVE.astype(int)).decision_function(COUNTS)
    assert svm == pytest.approx(scaled @ weights)


def test_nb_svm_sets_each_of_many_classes_against_the_rest() -> None:
    texts, labels = four_classes(80)
    counts = CountVectorizer(binary=True, dtype=np.float64).fit_transform(texts)
    scores = NbSvm().fit(counts, np.array(labels)).decision_function(counts)
    for label in range(4):
        alone = NbSvm().fit(counts, (np.array(labels) == label).astype(int)).decision_function(counts)
        assert scores[:, label] == pytest.approx(alone)


def test_nb_svm_gives_words_of_the_rows_held_out_no_say_in_its_mean() -> None:
    wider = sparse.csr_matrix(sparse.hstack([COUNTS, sparse.csr_matrix((3, 5))]))
    narrow = NbSvm(beta=0.0).fit(COUNTS, POSITIVE.astype(int)).coef_[:, 0]
    wide = NbSvm(beta=0.0).fit(wider, POSITIVE.astype(int)).coef_[:3, 0]
    ratios = np.array(RATIO) / log_count_ratio(wider, POSITIVE, 1.0)[:3]
    assert wide * ratios == pytest.approx(narrow, rel=0.2)  # smoothing shares out a little to the five
    assert (np.sign(wide) == np.sign(narrow)).all()


def test_on_real_reviews_the_strong_ones_are_stronger(shared: Path) -> None:
    def real(split: str, rows: int) -> Rows:
        table = pd.read_parquet(shared / "data" / "imdb" / f"{split}.parquet").head(rows)
        return [strip_html(text) for text in table["text"]], table["label"].tolist()

    train, (texts, labels) = real("train", 2_000), real("test", 1_000)
    got = {}
    for name in TEXT_BASELINES:
        model, found = fitted(name, train)
        assert "warnings" not in found
        got[name] = accuracy(model.predict(texts), labels)
    assert got["majority"] < 0.55 and min(score for name, score in got.items() if name != "majority") > 0.75
    assert got["tfidf-logreg-tuned"] > got["tfidf-logreg"] > got["bow-forest"] > got["majority"]
    assert got["nb-svm"] > got["tfidf-logreg"]
