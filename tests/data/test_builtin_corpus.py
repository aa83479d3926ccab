"""The built-in corpus: seeded, distinct, and hard in the way it means to be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hpo.data import builtin_corpus
from hpo.data.builtin_corpus import generate_reviews


def test_the_seed_decides_and_more_rows_begin_with_the_same() -> None:
    assert generate_reviews(200, 3) == generate_reviews(200, 3)
    assert generate_reviews(200, 3) != generate_reviews(200, 5)
    texts, labels = generate_reviews(300, 3)
    assert (texts[:200], labels[:200]) == generate_reviews(200, 3)


def test_no_review_comes_twice_nor_under_seeds_of_both_kinds() -> None:
    train, test = generate_reviews(4000, 0)[0], generate_reviews(2000, 1)[0]
    assert len(set(train)) == 4000 and len(set(test)) == 2000
    assert not set(train) & set(test)


def test_shape() -> None:
    texts, labels = generate_reviews(2000, 0)
    words = [len(text.split()) for text in texts]
    assert min(words) <= 6 and 45 <= max(words) <= 80 and 15 <= sum(words) / 2000 <= 30
    assert set(labels) == {0, 1} and 900 < sum(labels) < 1100
    assert not any("{" in text or "}" in text for text in texts)
    assert all(text[0].isupper() and text.endswith(".") for text in texts)


def test_some_labels_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = dict(zip(*generate_reviews(3000, 0), strict=True))
    monkeypatch.setattr(builtin_corpus, "NOISE", 0.0)
    clean = dict(zip(*generate_reviews(3000, 0), strict=True))
    turned = Counter(noisy[text] != clean[text] for text in noisy.keys() & clean.keys())
    assert 0.02 < turned[True] / turned.total() < 0.04


def scores(ngrams: tuple[int, int]) -> list[float]:
    """Test accuracy of TF-IDF and logistic regression, for each C."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    (texts, labels), (test_texts, test_labels) = generate_reviews(4000, 0), generate_reviews(2000, 1)
    words = TfidfVectorizer(ngram_range=ngrams, sublinear_tf=True)
    train, test = words.fit_transform(texts), words.transform(test_texts)
    models = [LogisticRegression(C=strength, max_iter=1000).fit(train, labels) for strength in (0.3, 1, 3, 10)]
    return [float(np.mean(model.predict(test) == np.array(test_labels))) for model in models]


def test_a_bag_of_words_gets_some_of_it() -> None:
    assert 0.70 <= max(scores((1, 1))) <= 0.85
    assert 0.75 <= max(scores((1, 2))) <= 0.85
