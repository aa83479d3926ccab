"""The built-in corpus is seeded, has distinct reviews, and is as hard as intended."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hpo.data import builtin_corpus
from hpo.data.builtin_corpus import generate_reviews


def test_seed_determines_reviews_and_more_rows_start_with_the_same() -> None:
    assert generate_reviews(200, 3) == generate_reviews(200, 3)
    assert generate_reviews(200, 3) != generate_reviews(200, 5)
    texts, labels = generate_reviews(300, 3)
    assert (texts[:200], labels[:200]) == generate_reviews(200, 3)


def test_reviews_are_distinct_within_and_across_even_and_odd_seeds() -> None:
    train, test = generate_reviews(4000, 0)[0], generate_reviews(2000, 1)[0]
    assert len(set(train)) == 4000 and len(set(test)) == 2000
    assert not set(train) & set(test)


def test_reviews_have_plausible_lengths_labels_and_sentences() -> None:
    texts, labels = generate_reviews(2000, 0)
    words = [len(text.split()) for text in texts]
    assert min(words) <= 6 and 45 <= max(words) <= 80 and 15 <= sum(words) / 2000 <= 30
    assert set(labels) == {0, 1} and 900 < sum(labels) < 1100
    assert not any("{" in text or "}" in text for text in texts)
    assert all(text[0].isupper() and text.endswith(".") for text in texts)


def test_three_percent_of_labels_are_flipped(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = dict(zip(*generate_reviews(3000, 0), strict=True))
    monkeypatch.setattr(builtin_corpus, "NOISE", 0.0)
    clean = dict(zip(*generate_reviews(3000, 0), strict=True))
    flipped = Counter(noisy[text] != clean[text] for text in noisy.keys() & clean.keys())
    assert 0.02 < flipped[True] / flipped.total() < 0.04


def bag_of_words_scores(ngrams: tuple[int, int]) -> list[float]:
    """Test accuracies of TF-IDF and logistic regression, one per C."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    (texts, labels), (test_texts, test_labels) = generate_reviews(4000, 0), generate_reviews(2000, 1)
    vectorizer = TfidfVectorizer(ngram_range=ngrams, sublinear_tf=True)
    train, test = vectorizer.fit_transform(texts), vectorizer.transform(test_texts)
    models = [LogisticRegression(C=strength, max_iter=1000).fit(train, labels) for strength in (0.3, 1, 3, 10)]
    return [float(np.mean(model.predict(test) == np.array(test_labels))) for model in models]


def test_bag_of_words_is_limited_to_85_percent() -> None:
    assert 0.70 <= max(bag_of_words_scores((1, 1))) <= 0.85
    assert 0.75 <= max(bag_of_words_scores((1, 2))) <= 0.85
