"""Models that people have already: folders that hpo wrote, and sequence classifiers of Hugging Face.

They get texts as they are in the data, because that is what a deployed system gets. A folder of hpo cleans them itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hpo.data.class_names import format_classes
from hpo.errors import DataError, ModelError
from hpo.paths import expand_path
from hpo.study.spec_tables import ModelSpec
from hpo.training.checkpoint_errors import describe_load_error
from hpo.training.checkpoint_folder import CONFIG_FILE, find_model_folder
from hpo.training.head_labels import LabelMatch, list_labels, list_pairs, match_labels, read_head_labels
from hpo.training.model_folder import INFO_FILE, read_model_info

DEFAULT_LENGTH = 512  # tokens per text, for models that take more
CLASSIFIER_SUFFIX = "ForSequenceClassification"  # of the names of transformers' classes

PredictionProgress = Callable[[int, int], None]  # takes texts done and texts in all; may raise to stop


class PredictedText(Protocol):
    """What a predictor says about one text."""

    @property
    def probabilities(self) -> Mapping[str, float]: ...


class TextPredictor(Protocol):
    """A folder that hpo wrote, ready to predict: `hpo.predict.Predictor`."""

    labels: tuple[str, ...]

    def stream(
        self, texts: Iterable[str | DataError], on_progress: Callable[[int], None] | None = None
    ) -> Iterator[PredictedText]: ...


# Takes a folder, and whether to run code that comes with it: `hpo.predict.load_predictor`, in a package above this one.
LoadPredictor = Callable[[Path, bool], TextPredictor]


@dataclass(frozen=True)
class ModelSource:
    """Where a model is, and how it is used.

    Attributes:
        key: What names it, for messages: a baseline, or an argument.
        name: The name as people give it; relative paths start at `base`.
        max_length: Tokens per text; None for what the model takes, up to DEFAULT_LENGTH. A folder of hpo has its own.
    """

    key: str
    name: str
    base: Path
    revision: str | None = None
    max_length: int | None = None
    trust_remote_code: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether hpo wrote the folder."""
        return (self.path / INFO_FILE).exists()

    @property
    def path(self) -> Path:
        """The folder that the name means, if there is one."""
        return self.base / expand_path(self.name)

    def find_folder(self) -> Path | None:
        """Return the folder, or None for a model of the hub.

        Raises:
            ModelError: There is no such folder, or no model in it.
        """
        return self.path if self.is_ours else find_model_folder(self.name, self.base, self.key)


@dataclass(frozen=True)
class RunnableModel:
    """A model that predicts texts as they are in the data.

    Attributes:
        predict: Returns class probabilities (n, k) in the order of the wanted labels.
        assumed: What the model's labels are taken to mean, if only their order says it; else empty.
    """

    predict: Callable[[Sequence[str], PredictionProgress], NDArray[np.float64]]
    assumed: str


def describe_folder(folder: Path) -> str:
    """Return the name of a model folder; all those that `hpo retrain` writes are called `model`."""
    path = folder.resolve()
    return path.name if path.name != "model" else f"{path.parent.name}/{path.name}"


def read_model_labels(source: ModelSource) -> list[str]:
    """Return the labels of a model in a folder, without loading it. Raises ModelError if there is no such model."""
    folder = source.find_folder()
    if source.is_ours:
        return read_model_info(source.path).labels
    assert folder is not None, "a model of the hub"
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf8"))
        architectures = [str(name) for name in config.get("architectures") or ()]
        # transformers leaves out names that are its defaults.
        named = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
        labels = read_head_labels({int(index): str(name) for index, name in named.items()})
    except (OSError, ValueError, AttributeError):
        raise ModelError(f"{source.key}: {folder / CONFIG_FILE} cannot be read") from None
    if architectures and not any(name.endswith(CLASSIFIER_SUFFIX) for name in architectures):
        raise ModelError(f"{source.key}: {folder} is a {architectures[0]}, which has no head for classes; fine-tune it")
    return labels


def match_model_labels(source: ModelSource, head: Sequence[str], labels: Sequence[str]) -> LabelMatch:
    """Return which of a model's labels stands for each wanted one. Raises ModelError if they do not match."""
    match = match_labels(head, labels)
    if match is None:
        raise ModelError(
            f"{source.key}: the labels of {source.name} are {format_classes(head)}, those of the data "
            f"{format_classes(labels)}; rename them in id2label of its {CONFIG_FILE}, or leave it out"
        )
    return match


def load_model(source: ModelSource, labels: Sequence[str], load_predictor: LoadPredictor | None) -> RunnableModel:
    """Load a model and match its labels with the wanted ones; `load_predictor` is for folders of hpo.

    Raises:
        ModelError: It cannot be loaded, has no trained head, or has other labels.
    """
    folder = source.find_folder()
    if source.is_ours:
        assert load_predictor is not None, "open_final_runs got no load_predictor"
        return _load_ours(source, labels, load_predictor)
    return _load_classifier(source, folder, labels)


def _load_ours(source: ModelSource, labels: Sequence[str], load_predictor: LoadPredictor) -> RunnableModel:
    predictor = load_predictor(source.path, source.trust_remote_code)
    match = match_model_labels(source, predictor.labels, labels)
    order = [predictor.labels[row] for row in match.rows]

    def predict(texts: Sequence[str], on_progress: PredictionProgress) -> NDArray[np.float64]:
        predicted = predictor.stream(texts, lambda done: on_progress(done, len(texts)))
        return np.array([[answer.probabilities[label] for label in order] for answer in predicted])

    return RunnableModel(predict, list_pairs(predictor.labels, labels) if match.is_assumed else "")


def _load_classifier(source: ModelSource, folder: Path | None, labels: Sequence[str]) -> RunnableModel:
    from transformers import AutoConfig, AutoTokenizer

    from hpo.training.checkpoint import Checkpoint, find_longest_input
    from hpo.training.inference import predict_probabilities, to_accelerator

    options = {"revision": source.revision, "trust_remote_code": source.trust_remote_code}
    options = {name: value for name, value in options.items() if value}
    try:
        location = str(folder or source.name)
        config = AutoConfig.from_pretrained(location, **options)
        head = read_head_labels(config.id2label)
        match = match_model_labels(source, head, labels)
        longest = find_longest_input(AutoTokenizer.from_pretrained(location, **options), config)
        length = source.max_length or min(longest, DEFAULT_LENGTH)
        spec = ModelSpec(
            checkpoint=source.name,
            revision=source.revision,
            max_length=length,
            trust_remote_code=source.trust_remote_code,
        )
        checkpoint = Checkpoint(spec, [], tuple(labels), folder)
    except ModelError as error:
        raise _name_source(source, str(error).removeprefix(f"{source.key}: ")) from None
    except Exception as error:  # a damaged file raises whatever the library that reads it raises
        raise _name_source(source, describe_load_error(source.name, error)) from None
    if not checkpoint.has_head:
        raise ModelError(
            f"{source.key}: {source.name} has no trained head for {list_labels(labels)}; fine-tune it first"
        )
    model = to_accelerator(checkpoint.fresh())

    def predict(texts: Sequence[str], on_progress: PredictionProgress) -> NDArray[np.float64]:
        only_ids = {"return_attention_mask": False, "return_token_type_ids": False}
        tokens = checkpoint.tokenizer(list(texts), truncation=True, max_length=length, **only_ids)["input_ids"]
        if empty := [number for number, ids in enumerate(tokens, start=1) if not ids]:
            raise DataError(f"{source.key}: text {empty[0]} has no tokens for {source.name}")
        rows = [{"input_ids": ids} for ids in tokens]
        probabilities = predict_probabilities(model, checkpoint.tokenizer, rows, on_progress)
        if not np.isfinite(probabilities).all():
            raise ModelError(
                f"{source.key}: the probabilities of {source.name} are not finite: its weights are damaged"
            )
        return probabilities

    return RunnableModel(predict, list_pairs(head, labels) if match.is_assumed else "")


def _name_source(source: ModelSource, problem: str) -> ModelError:
    """Return an error about a model; the messages of `Checkpoint` name keys of a study's table `model`."""
    return ModelError(f"{source.key}: {problem.removeprefix('model.').removeprefix('checkpoint ')}")
