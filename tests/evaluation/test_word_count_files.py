"""Files of classifiers that count words: predictions stay the same, and a crafted or damaged file runs nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import Perceptron
from sklearn.preprocessing import FunctionTransformer

import hpo
from hpo.data.builtin_corpus import generate_reviews
from hpo.errors import ModelError
from hpo.evaluation.text_baselines import TEXT_BASELINES, TextBaseline
from hpo.evaluation.word_count_files import CLASSIFIER_FILE, WORDS_FILE, read_word_counts, write_word_counts
from hpo.training.model_folder import WORD_COUNTS, ModelInfo, write_model_info
from tests.support.model_checksums import renew_checksums

TEXTS, LABELS = generate_reviews(60, seed=0)
OTHERS = [*generate_reviews(30, seed=1)[0], "unheard-of"]
NAMES = [name for name in TEXT_BASELINES if name != "majority"]


def fit(name: str, texts: list[str], labels: list[int]) -> TextBaseline:
    model = TEXT_BASELINES[name](3)
    model.fit(texts, labels, lambda share, description: None)
    return model


def write_folder(folder: Path, name: str, model: TextBaseline, labels: list[str]) -> ModelInfo:
    """Write a model folder as `hpo export` does."""
    folder.mkdir(exist_ok=True)
    write_word_counts(model.vectorizer, model.classifier, folder)
    info = ModelInfo(study="s", baseline=name, kind=WORD_COUNTS, text="text", clean=[], max_length=None, labels=labels)
    write_model_info(folder, info)
    return info


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder per baseline."""
    root = tmp_path_factory.mktemp("word-counts")
    for name in NAMES:
        write_folder(root / name, name, fit(name, TEXTS, LABELS), ["bad", "good"])
    return root


@pytest.mark.parametrize("texts", [TEXTS, [text.replace(" ", "") for text in TEXTS]], ids=["words", "characters"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_model_that_is_read_predicts_the_same(name: str, classes: int, texts: list[str], tmp_path: Path) -> None:
    labels = [(label + row) % classes for row, label in enumerate(LABELS)]
    model = fit(name, texts, labels)
    assert model.vectorizer.analyzer == ("word" if texts is TEXTS else "char")
    info = write_folder(tmp_path, name, model, [f"class {label}" for label in range(classes)])
    assert np.array_equal(read_word_counts(tmp_path, info).predict_probabilities(OTHERS), model.predict(OTHERS))


def test_predictor_gives_the_probabilities_of_the_classifier(folders: Path) -> None:
    predictions = hpo.load(folders / "nb-svm").predict(OTHERS)
    expected = fit("nb-svm", TEXTS, LABELS).predict(OTHERS)
    assert [[*prediction.probabilities.values()] for prediction in predictions] == expected.tolist()
    assert {prediction.label for prediction in predictions} == {"bad", "good"}


def change_words(change: Callable[[list[str]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        words = json.loads((folder / WORDS_FILE).read_text())
        (folder / WORDS_FILE).write_text(json.dumps(change(words)))

    return damage


def change_objects(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / CLASSIFIER_FILE
        content = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
        change(content)
        skops.io.dump(content, file)

    return damage


def redirect_child(content: dict[str, Any], child: int) -> None:
    """Let the first node of a tree have another left child."""
    tree = content["classifier"].estimators_[0].tree_
    state = tree.__getstate__()
    state["nodes"]["left_child"][0] = child
    tree.__setstate__(state)


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no file": ("nb-svm", lambda folder: (folder / CLASSIFIER_FILE).unlink(), "No such file"),
    "half a file": ("nb-svm", lambda folder: (folder / CLASSIFIER_FILE).write_bytes(b"PK"), "not a zip file"),
    "no words": ("nb-svm", lambda folder: (folder / WORDS_FILE).unlink(), "No such file"),
    "words twice": ("nb-svm", change_words(lambda words: [*words[:-1], words[0]]), "a word occurs twice"),
    "too few words": ("tfidf-logreg", change_words(lambda words: words[:-1]), "ValueError"),
    "numbers": ("nb-svm", change_words(lambda words: 5), "TypeError"),
    "not finite": (
        "nb-svm",
        change_objects(lambda content: content["classifier"].calibrated_classifiers_[0].estimator.coef_.fill(np.nan)),
        "not finite",
    ),
    "reads files": (
        "nb-svm",
        change_objects(lambda content: content["vectorizer"].set_params(input="filename")),
        "reads files",
    ),
    "child outside": ("bow-forest", change_objects(lambda content: redirect_child(content, 10**6)), "outside of it"),
    "endless tree": ("bow-forest", change_objects(lambda content: redirect_child(content, 0)), "outside of it"),
    "function": (
        "nb-svm",
        change_objects(lambda content: content.update(classifier=FunctionTransformer(os.system))),
        "which hpo never stores",  # it names the function or the transformer, whichever it meets first
    ),
    "method": (
        "nb-svm",
        change_objects(lambda content: content.update(classifier=Path("/").rmdir)),
        "which hpo never stores",
    ),
    "other estimator": (
        "nb-svm",
        change_objects(lambda content: content.update(classifier=Perceptron())),
        "holds sklearn.linear_model._perceptron.Perceptron, which hpo never stores",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_or_crafted_folder_is_one_line(case: str, folders: Path, tmp_path: Path) -> None:
    name, damage, message = DAMAGES[case]
    folder = shutil.copytree(folders / name, tmp_path / "model")
    damage(folder)
    renew_checksums(folder)
    with pytest.raises(ModelError) as caught:
        hpo.load(folder).predict(["good"])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_of_a_crafted_file_is_run(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that would call a function when it is loaded by a reader that trusts all of its types."""
    calls: list[str] = []
    monkeypatch.setattr("hpo.evaluation.text_baselines.softmax", calls.append)
    folder = shutil.copytree(folders / "nb-svm", tmp_path / "model")
    file = folder / CLASSIFIER_FILE
    with zipfile.ZipFile(file) as archive:
        schema = json.loads(archive.read("schema.json"))
    schema["content"]["classifier"] = {
        "__class__": "softmax",
        "__module__": "hpo.evaluation.text_baselines",
        "__loader__": "ObjectNode",
        "__reduce__": {"args": schema["content"]["vectorizer"]},
        "content": schema["content"]["vectorizer"],
    }
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    renew_checksums(folder)
    with pytest.raises(ModelError, match=r"holds hpo\.evaluation\.text_baselines\.softmax, which hpo never stores"):
        hpo.load(folder)
    assert not calls


def test_other_number_of_labels_and_unknown_kinds_are_refused(folders: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folders / "nb-svm", tmp_path / "model")
    info = json.loads((folder / "recipe.json").read_text())
    for change, message in (
        ({"labels": ["a", "b", "c"]}, "names 3 labels, but the classifier has 2; .*hpo export STUDY --system nb-svm"),
        ({"kind": "word-count"}, 'kind is "word-count"; did you mean word-counts?.*update hpo'),
    ):
        (folder / "recipe.json").write_text(json.dumps(info | change))
        with pytest.raises(ModelError, match=message):
            hpo.load(folder)


def test_prediction_starts_without_the_training_libraries(folders: Path) -> None:
    code = """
import sys
from hpo.cli import app
try: app(["predict", sys.argv[1], "a fine film"])
except SystemExit as exit: assert not exit.code
print(*{"torch", "transformers", "optuna", "datasets"} & set(sys.modules), file=sys.stderr)
"""
    command = [sys.executable, "-c", code, str(folders / "bow-forest")]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout.split()[0] in {"bad", "good"} and process.stderr == "\n"
