"""The files of a classifier that counts words: a vectorizer and a classifier of scikit-learn, and the words.

skops stores objects as a list of types and their attributes, which runs no code, unlike pickle. Only the types that
these files need are loaded. The words lie in a file of their own, because skops would take minutes for many of them.
"""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import ModelError, first_line, shorten
from hpo.evaluation.skops_internals import import_skops_io
from hpo.training.model_folder import INFO_FILE, ModelInfo

CLASSIFIER_FILE, WORDS_FILE = "classifier.skops", "words.json"
TRUSTED_TYPES = (
    "builtins.bool",
    "builtins.dict",
    "builtins.float",
    "builtins.int",
    "builtins.list",
    "builtins.str",
    "builtins.tuple",
    "hpo.evaluation.text_baselines.NbSvm",
    "numpy.float64",
    "numpy.int64",
    "numpy.ndarray",
    "sklearn.calibration.CalibratedClassifierCV",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._forest.RandomForestClassifier",
    "sklearn.feature_extraction.text.CountVectorizer",
    "sklearn.feature_extraction.text.TfidfTransformer",
    "sklearn.feature_extraction.text.TfidfVectorizer",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.tree._classes.DecisionTreeClassifier",
    "sklearn.tree._tree.Tree",
)
_LEAF = -1  # the child of a node that has none


class WordCountClassifier:
    """A vectorizer and a classifier as one classifier of texts; see `TextClassifier`."""

    def __init__(self, vectorizer: Any, classifier: Any) -> None:
        self.vectorizer = vectorizer
        self.classifier = classifier

    def encode(self, texts: Sequence[str]) -> list[str]:
        """Return the texts. One without any known word has a prediction too, as it has when it is scored."""
        return list(texts)

    def predict_probabilities(
        self, encoded: Sequence[str], on_progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float64]:
        """Return class probabilities (texts, classes)."""
        probabilities = self.classifier.predict_proba(self.vectorizer.transform(encoded))
        if on_progress is not None:
            on_progress(len(encoded), len(encoded))
        return np.asarray(probabilities, dtype=np.float64)


def write_word_counts(vectorizer: Any, classifier: Any, folder: Path) -> None:
    """Write a fitted vectorizer that counts words and the classifier of its counts into a folder.

    Raises ModelError if they hold what `read_word_counts` refuses, as those of another version of scikit-learn may.
    """
    words = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
    (folder / WORDS_FILE).write_text(json.dumps(words), encoding="ascii")
    wordless = copy.copy(vectorizer)
    del wordless.vocabulary_
    content = {"vectorizer": wordless, "classifier": classifier}
    import_skops_io().dump(content, folder / CLASSIFIER_FILE, compression=zipfile.ZIP_DEFLATED)
    _check_types(folder / CLASSIFIER_FILE)


def read_word_counts(folder: Path, info: ModelInfo) -> WordCountClassifier:
    """Load what `write_word_counts` has written.

    Raises ModelError if a file is missing or damaged, or holds anything else: no object of a type that is not one of
    TRUSTED_TYPES is created.
    """
    try:
        words = json.loads((folder / WORDS_FILE).read_text(encoding="ascii"))
        _check_types(folder / CLASSIFIER_FILE)
        content = import_skops_io().load(folder / CLASSIFIER_FILE, trusted=list(TRUSTED_TYPES))
        classifier = WordCountClassifier(content["vectorizer"], content["classifier"])
        classifier.vectorizer.vocabulary_ = {word: index for index, word in enumerate(words)}
        _check_content(classifier, len(words))
        # What does not fit together shows now, and not in the middle of a file.
        classes = classifier.predict_probabilities(["a text"]).shape[1]
    except ModelError:
        raise
    except Exception as error:  # a damaged file raises whatever the library that reads it raises
        raise ModelError(f"{folder}: {type(error).__name__}: {first_line(error)}; {info.remedy}") from None
    if classes != len(info.labels):
        raise ModelError(
            f"{folder}: {INFO_FILE} names {len(info.labels)} labels, but the classifier has {classes}; {info.remedy}"
        )
    return classifier


def _check_types(file: Path) -> None:
    """Raise ModelError if a file of skops names a type, function or method that is not one of TRUSTED_TYPES.

    skops itself trusts all estimators and many functions, which is more than these files need.
    """
    with zipfile.ZipFile(file) as archive:
        remaining = [json.loads(archive.read("schema.json"))]
    while remaining:
        node = remaining.pop()
        if isinstance(node, dict):
            remaining += node.values()
            name = f"{node.get('__module__')}.{node.get('__class__')}"
            if "__class__" in node and name not in TRUSTED_TYPES:
                raise ModelError(f"{file}: holds {shorten(name, limit=200)}, which hpo never stores; not loaded")
        elif isinstance(node, list):
            remaining += node


def _check_content(model: WordCountClassifier, words: int) -> None:
    """Raise ValueError for what scikit-learn does not check: it would read other files, or memory that is not its."""
    if model.vectorizer.input != "content":
        raise ValueError("its vectorizer reads files")
    if len(model.vectorizer.vocabulary_) != words:
        raise ValueError("a word occurs twice")
    for tree in (estimator.tree_ for estimator in getattr(model.classifier, "estimators_", [])):
        children = np.stack([tree.children_left, tree.children_right])
        nodes = np.arange(tree.node_count)
        is_leaf = children[0] == _LEAF
        # scikit-learn numbers a node's children after it. So no path through the tree comes back, and each one ends.
        are_inside = (nodes < children) & (children < tree.node_count) & (tree.feature >= 0) & (tree.feature < words)
        if not (is_leaf | are_inside.all(axis=0)).all():
            raise ValueError("a tree has nodes outside of it")
