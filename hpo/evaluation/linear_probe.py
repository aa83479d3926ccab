"""A linear probe: a logistic regression on the frozen, mean-pooled embeddings of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from hpo.errors import ModelError, first_line
from hpo.training.checkpoint import save_model
from hpo.training.inference import InferenceProgress, TransformerClassifier, mean_embeddings
from hpo.training.model_folder import INFO_FILE, ModelInfo, read_transformer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEAD_FILE = "head.safetensors"
# Not beside the head: with a config.json there, other programs would take the folder for a fine-tuned classifier, and
# use the head of the checkpoint, which is random.
CHECKPOINT_FOLDER = "checkpoint"


@dataclass(frozen=True)
class LinearHead:
    """What standardizes embeddings (d,), and the weights (k, d) of a logistic regression; two classes share one row."""

    mean: NDArray[Any]
    scale: NDArray[Any]
    coef: NDArray[Any]
    intercept: NDArray[Any]

    @classmethod
    def from_pipeline(cls, pipeline: Any) -> Self:
        """Return the numbers of a fitted StandardScaler and LogisticRegression."""
        scaler, regression = (step for _, step in pipeline.steps)
        return cls(scaler.mean_, scaler.scale_, regression.coef_, regression.intercept_)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return max(len(self.intercept), 2)

    def predict_probabilities(self, embeddings: NDArray[Any]) -> NDArray[np.float64]:
        """Return class probabilities (texts, classes) for embeddings (texts, d)."""
        scores = ((embeddings - self.mean) / self.scale) @ self.coef.T + self.intercept
        if scores.shape[1] > 1:
            return np.asarray(softmax(scores, axis=1), dtype=np.float64)
        positive = expit(scores[:, 0])
        return np.stack([1 - positive, positive], axis=1, dtype=np.float64)


class LinearProbeClassifier(TransformerClassifier):
    """A checkpoint and a linear head as one classifier of texts; see `TextClassifier`."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, max_length: int | None, head: LinearHead) -> None:
        super().__init__(model, tokenizer, max_length)
        self.head = head

    def predict_probabilities(
        self, encoded: Sequence[list[int]], on_progress: InferenceProgress | None = None
    ) -> NDArray[np.float64]:
        """Return class probabilities (texts, classes)."""
        rows = [{"input_ids": ids} for ids in encoded]
        embeddings = mean_embeddings(self.model, self.tokenizer, rows, on_progress)
        return self.head.predict_probabilities(embeddings)


def write_linear_probe(model: PreTrainedModel, tokenizer: Any, head: LinearHead, folder: Path) -> None:
    """Write a checkpoint and a head into a folder."""
    from safetensors.numpy import save_file

    save_model(model, tokenizer, folder / CHECKPOINT_FOLDER)
    save_file({name: np.ascontiguousarray(array) for name, array in asdict(head).items()}, folder / HEAD_FILE)


def read_linear_probe(folder: Path, info: ModelInfo, trust_remote_code: bool = False) -> LinearProbeClassifier:
    """Load what `write_linear_probe` has written. Raises ModelError if a file is missing or damaged."""
    from safetensors.numpy import load_file

    try:
        head = LinearHead(**load_file(folder / HEAD_FILE))
        classes = head.classes
    except Exception as error:  # a damaged file raises whatever the library that reads it raises
        raise ModelError(f"{folder / HEAD_FILE}: {first_line(error)}; {info.remedy}") from None
    model, tokenizer = read_transformer(folder / CHECKPOINT_FOLDER, info.remedy, trust_remote_code)
    if classes != len(info.labels):
        raise ModelError(
            f"{folder}: {INFO_FILE} names {len(info.labels)} labels, but the head has {classes}; {info.remedy}"
        )
    classifier = LinearProbeClassifier(model, tokenizer, info.max_length, head)
    try:  # what does not fit together shows now, and not in the middle of a file
        classifier.predict_probabilities([[0]])  # of a text with one token; each tokenizer has the first
    except (ValueError, IndexError) as error:
        raise ModelError(
            f"{folder / HEAD_FILE}: does not fit the checkpoint: {first_line(error)}; {info.remedy}"
        ) from None
    return classifier
