"""KINDS: how the models in model folders are loaded, one row per kind. Each loads only the libraries that it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from hpo.errors import ModelError, unknown_value
from hpo.training.model_folder import (
    INFO_FILE,
    LINEAR_PROBE,
    TRANSFORMER,
    WORD_COUNTS,
    ModelInfo,
    check_files,
    read_model_info,
    read_transformer,
)


class TextClassifier(Protocol):
    """A model that classifies texts which are cleaned already."""

    def encode(self, texts: Sequence[str]) -> Sequence[Any]:
        """Return what the model reads of each text; something empty for a text of which it reads nothing."""

    def predict_probabilities(
        self, encoded: Sequence[Any], on_progress: Callable[[int, int], None] | None = None
    ) -> NDArray[Any]:
        """Return class probabilities (texts, classes) for what `encode` has returned."""


def _read_transformer(folder: Path, info: ModelInfo, trust_remote_code: bool) -> TextClassifier:
    from hpo.training.inference import TransformerClassifier

    model, tokenizer = read_transformer(folder, info.remedy, trust_remote_code)
    if model.config.num_labels != len(info.labels):
        raise ModelError(
            f"{folder}: {INFO_FILE} names {len(info.labels)} labels, but the weights have {model.config.num_labels}; "
            f"{info.remedy}"
        )
    return TransformerClassifier(model, tokenizer, info.max_length)


def _read_linear_probe(folder: Path, info: ModelInfo, trust_remote_code: bool) -> TextClassifier:
    from hpo.evaluation.linear_probe import read_linear_probe

    return read_linear_probe(folder, info, trust_remote_code)


def _read_word_counts(folder: Path, info: ModelInfo, trust_remote_code: bool) -> TextClassifier:
    from hpo.evaluation.word_count_files import read_word_counts

    return read_word_counts(folder, info)


KINDS: dict[str, Callable[[Path, ModelInfo, bool], TextClassifier]] = {
    TRANSFORMER: _read_transformer,
    LINEAR_PROBE: _read_linear_probe,
    WORD_COUNTS: _read_word_counts,
}


def read_classifier(folder: Path, trust_remote_code: bool = False) -> tuple[TextClassifier, ModelInfo]:
    """Load the model of a model folder, and its info.

    Raises ModelError if the folder does not exist, was not written by hpo, or is damaged.
    """
    info = read_model_info(folder)
    if info.kind not in KINDS:
        problem = f"kind {unknown_value(info.kind, list(KINDS))}"
        raise ModelError(f"{folder / INFO_FILE}: {problem}; if a later version of hpo has written it, update hpo")
    check_files(folder, info)
    return KINDS[info.kind](folder, info, trust_remote_code), info
