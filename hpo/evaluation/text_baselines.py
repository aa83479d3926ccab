"""TEXT_BASELINES: classical text classifiers of scikit-learn that learn from word counts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC
from sklearn.utils.extmath import softmax
from threadpoolctl import threadpool_limits

from hpo.errors import DataError
from hpo.evaluation.text_units import WORD_PATTERN, choose_units

FitProgress = Callable[[float, str], None]  # receives the finished share, 0 to 1, and a description
Labels = NDArray[np.int64]
FitDetails = dict[str, Any]  # what was tuned or fixed, as JSON values
# Fits a classifier to features (rows, features).
FitFunction = Callable[[Any, Labels, FitProgress], tuple[Any, FitDetails]]

FOLDS = 5
SINGLE_ROW_NOTE = "a class has a single row: nothing was cross-validated"
C_GRID = tuple(4.0**power for power in range(-1, 6))
DEFAULT_C = 16.0  # if cross-validation is impossible: the middle of the grid, as accurate on IMDb as the best
COUNTING_SHARE = 0.1  # approximate share of the time that counting words takes
TREE_BATCH = 10  # trees grown between two progress reports


class TextBaseline:
    """A vectorizer that counts words, and a classifier that learns from the counts.

    A vectorizer of scikit-learn that counts words counts something else if the texts need it: see `choose_units`.
    """

    def __init__(self, vectorizer: Any, fit_classifier: FitFunction) -> None:
        self.vectorizer = vectorizer
        self.fit_classifier = fit_classifier
        self.classifier: Any = None

    def fit(self, texts: Sequence[str], labels: Sequence[int], progress: FitProgress) -> FitDetails:
        """Fit to texts and their labels 0 .. k - 1, each of which occurs; return what was tuned or fixed.

        What was counted instead of the vectorizer's own words is described under `as`. Warnings of scikit-learn, such
        as of a solver that stopped early, are listed under `warnings`.

        Raises:
            DataError: The texts are blank.
        """
        progress(0.0, "counting words")
        description = None
        if isinstance(self.vectorizer, CountVectorizer) and self.vectorizer.analyzer == "word":
            units = choose_units(texts, self.vectorizer.token_pattern)
            self.vectorizer.set_params(**units.parameters)
            description = units.description
        features = self._count_words(texts)
        # Sparse products run on one thread in any case. If BLAS uses more for the vectors in between, these mostly
        # wait for each other: on a busy machine a fit takes up to ten times as long.
        with warnings.catch_warnings(record=True) as caught, threadpool_limits(1, user_api="blas"):
            warnings.simplefilter("always", ConvergenceWarning)
            self.classifier, details = self.fit_classifier(
                features,
                np.asarray(labels, dtype=np.int64),
                lambda share, description: progress(COUNTING_SHARE + (1 - COUNTING_SHARE) * share, description),
            )
        progress(1.0, "fitted")
        details = {"features": features.shape[1], **details}
        if description:
            details["as"] = description
        if caught:
            details["warnings"] = sorted({str(warning.message).splitlines()[0] for warning in caught})
        return details

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return class probabilities (n, k), columns in the order of the labels."""
        return np.asarray(self.classifier.predict_proba(self.vectorizer.transform(texts)), dtype=np.float64)

    def _count_words(self, texts: Sequence[str]) -> Any:
        try:
            return self.vectorizer.fit_transform(texts)
        except ValueError as error:
            if getattr(self.vectorizer, "min_df", 1) != 1:  # perhaps every word is in one text only
                self.vectorizer.set_params(min_df=1)
                return self._count_words(texts)
            raise DataError(
                f"the {len(texts)} training texts hold no words to count; check what data.clean leaves of them"
            ) from error


class NbSvm(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """A linear SVM on naive Bayes log-count ratios: NBSVM, Wang & Manning 2012, "Baselines and Bigrams".

    The features are sparse binary counts (rows, features). The weights are interpolated between those of the SVM, whose
    share is beta, and weights of equal size, which are naive Bayes. As in the authors' program the SVM has no
    intercept. With more than two classes each is fitted against the rest. alpha and beta are the paper's. Its C is 1,
    but on held-out parts of IMDb's train split 0.1 scored 92.1 against 92.0 % (too little to tell them apart), took a
    fifth of the time and converged sooner.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 0.25,
        C: float = 0.1,
        seed: int = 0,
        on_fit: Callable[[], None] | None = None,
    ) -> None:
        self.alpha = alpha
        self.beta = beta
        self.C = C
        self.seed = seed
        self.on_fit = on_fit  # called at the start of each fit; cross-validation reports no progress of its own

    def fit(self, counts: Any, labels: Labels) -> NbSvm:
        if self.on_fit:
            self.on_fit()
        self.classes_ = np.unique(labels)
        positive = self.classes_ if len(self.classes_) > 2 else self.classes_[1:]
        self.coef_ = np.stack([self._weights(counts, labels == label) for label in positive], axis=1)
        return self

    def decision_function(self, counts: Any) -> NDArray[np.float64]:
        """Return scores (rows, classes), or (rows,) for two classes: above 0 for the second."""
        scores: NDArray[np.float64] = counts @ self.coef_
        return scores if len(self.classes_) > 2 else scores[:, 0]

    def predict(self, counts: Any) -> Labels:
        labels: Labels = self.classes_[self.predict_proba(counts).argmax(axis=1)]
        return labels

    def predict_proba(self, counts: Any) -> NDArray[np.float64]:
        """Return probabilities (rows, classes) as if scores were log odds; used if they cannot be calibrated."""
        scores = self.decision_function(counts)
        return np.asarray(softmax(scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], axis=1)))

    def _weights(self, counts: Any, positive: NDArray[np.bool_]) -> NDArray[np.float64]:
        ratio = log_count_ratio(counts, positive, self.alpha)
        svm = LinearSVC(C=self.C, fit_intercept=False, dual=True, random_state=self.seed)
        weights = svm.fit(counts.multiply(ratio).tocsr(), positive).coef_[0]
        # In cross-validation some words occur in the held-out rows only. They must not lower the mean weight.
        size = np.abs(weights).sum() / max(np.count_nonzero(counts.sum(axis=0)), 1)
        interpolated: NDArray[np.float64] = ratio * ((1 - self.beta) * size + self.beta * weights)
        return interpolated


def log_count_ratio(counts: Any, positive: NDArray[np.bool_], alpha: float) -> NDArray[np.float64]:
    """Return the log-count ratio (features,) of positive rows to the others (Wang & Manning 2012, equation 2).

    Args:
        counts: Sparse counts (rows, features).
        positive: Which rows are positive, (rows,).
        alpha: Smoothing, added to each feature's count.
    """
    inside = alpha + counts.T @ positive.astype(np.float64)
    outside = alpha + counts.T @ (~positive).astype(np.float64)
    return np.asarray(np.log(inside / inside.sum()) - np.log(outside / outside.sum()))


def _fit_as_is(classifier: Any, features: Any, labels: Labels, progress: FitProgress) -> tuple[Any, FitDetails]:
    progress(0.0, "fitting")
    return classifier.fit(features, labels), {}


def _fit_tuned_regression(seed: int, features: Any, labels: Labels, progress: FitProgress) -> tuple[Any, FitDetails]:
    """Fit a logistic regression with the C that has the lowest log loss in cross-validation.

    Log loss, because accuracy is flat and ragged around its best C, and because the probabilities are compared too.
    Words are counted and weighted once, on all of train: that uses no label.
    """
    # From C to C each fit starts at the last one's weights. That needs a small tolerance: at the default one the
    # gradient at a smaller C's weights already counts as zero, and the larger C's are never fitted. Newton's method
    # takes two thirds of the time of lbfgs, and half that of liblinear, which starts cold and is for two classes only.
    model = LogisticRegression(solver="newton-cg", tol=1e-6, warm_start=True)
    folds = _make_folds(labels, seed)
    if folds is None:
        fitted, _ = _fit_as_is(model.set_params(C=DEFAULT_C), features, labels, progress)
        return fitted, {"C": DEFAULT_C, "note": SINGLE_ROW_NOTE}
    steps = (folds.n_splits + 1) * len(C_GRID)  # the last fit starts cold, which takes about as long as a few steps
    losses = np.zeros((folds.n_splits, len(C_GRID)))
    for fold, (train, held_out) in enumerate(folds.split(features, labels)):
        model, train_features, held_out_features = clone(model), features[train], features[held_out]
        for index, C in enumerate(C_GRID):
            progress((fold * len(C_GRID) + index) / steps, f"fold {fold + 1} of {folds.n_splits}, C = {C:g}")
            model.set_params(C=C).fit(train_features, labels[train])
            losses[fold, index] = log_loss(labels[held_out], model.predict_proba(held_out_features))
    mean = losses.mean(axis=0)
    best = C_GRID[int(mean.argmin())]
    progress(folds.n_splits / (folds.n_splits + 1), f"all rows, C = {best:g}")
    model = clone(model).set_params(C=best).fit(features, labels)
    return model, {"C": best, "folds": folds.n_splits, "log_loss": float(mean.min())}


def _fit_forest(seed: int, features: Any, labels: Labels, progress: FitProgress) -> tuple[Any, FitDetails]:
    """Fit a random forest some trees at a time; the result is the same as of one fit."""
    forest = RandomForestClassifier(n_jobs=-1, random_state=seed, warm_start=True)
    trees = forest.n_estimators
    for grown in range(0, trees, TREE_BATCH):
        progress(grown / trees, f"tree {grown} of {trees}")
        forest.set_params(n_estimators=min(grown + TREE_BATCH, trees)).fit(features, labels)
    # With several threads, scikit-learn adds up the trees' probabilities in the order in which threads end. The sums
    # then differ in their last digit from one prediction to the next, and a row whose trees are tied changes its label.
    return forest.set_params(n_jobs=1), {"trees": trees}


def _fit_nb_svm(seed: int, features: Any, labels: Labels, progress: FitProgress) -> tuple[Any, FitDetails]:
    """Fit NbSvm with Platt scaling (1999).

    The scores to scale are cross-validated: those of a model's own training rows are overconfident.
    """
    folds = _make_folds(labels, seed)
    if folds is None:
        return _fit_as_is(NbSvm(seed=seed), features, labels, progress)[0], {"note": SINGLE_ROW_NOTE}
    fits = iter(range(folds.n_splits + 1))

    def on_fit() -> None:
        done = next(fits)
        description = f"fold {done + 1} of {folds.n_splits}" if done < folds.n_splits else "all rows"
        progress(done / (folds.n_splits + 1), description)

    model = CalibratedClassifierCV(NbSvm(seed=seed, on_fit=on_fit), cv=folds, ensemble=False)
    model.fit(features, labels)
    for fitted in (model, *model.calibrated_classifiers_):
        fitted.estimator.set_params(on_fit=None)  # the function belongs to this call, and cannot be saved
    return model, {"folds": folds.n_splits}


def _make_folds(labels: Labels, seed: int) -> Any:
    """Return folds with every class in each: fewer than five for a rare class, None if a class has a single row."""
    splits = min(FOLDS, int(np.bincount(labels).min()))
    return StratifiedKFold(splits, shuffle=True, random_state=seed) if splits > 1 else None


def _no_features(texts: Sequence[str]) -> NDArray[np.float64]:
    return np.zeros((len(texts), 0))


def _words_and_pairs(vectorizer: Any, **options: Any) -> Any:
    return vectorizer(ngram_range=(1, 2), token_pattern=WORD_PATTERN, **options)


# Name -> the classifier, unfitted, for a seed.
TEXT_BASELINES: dict[str, Callable[[int], TextBaseline]] = {
    "majority": lambda seed: TextBaseline(
        FunctionTransformer(_no_features), partial(_fit_as_is, DummyClassifier(strategy="prior"))
    ),
    "tfidf-logreg": lambda seed: TextBaseline(TfidfVectorizer(), partial(_fit_as_is, LogisticRegression())),
    "tfidf-logreg-tuned": lambda seed: TextBaseline(
        # Two thirds of all words and pairs are in one text only. On 100 to 25,000 reviews log loss is lower without.
        _words_and_pairs(TfidfVectorizer, sublinear_tf=True, min_df=2),
        partial(_fit_tuned_regression, seed),
    ),
    "bow-forest": lambda seed: TextBaseline(CountVectorizer(), partial(_fit_forest, seed)),
    "nb-svm": lambda seed: TextBaseline(
        _words_and_pairs(CountVectorizer, binary=True, dtype=np.float64), partial(_fit_nb_svm, seed)
    ),
}
