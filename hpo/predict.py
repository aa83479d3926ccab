"""Predict labels and probabilities of texts with a model folder that `hpo retrain` or `hpo export` created."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from hpo.data.cleaning import build_cleaner
from hpo.data.readers import READERS
from hpo.data.text_validation import check_text
from hpo.errors import DataError, HpoError, ModelError, SpecError, quote_value
from hpo.evaluation.model_kinds import TextClassifier, read_classifier
from hpo.paths import expand_path
from hpo.study.overrides import mask_override
from hpo.study.spec import StudySpec, load_study
from hpo.training.model_folder import INFO_FILE, ModelInfo

MAX_CHUNK = 1024  # texts; large, because texts of similar length within a chunk share a batch
WAIT_SECONDS = 1.0  # an incomplete chunk waits no longer than this for more texts: a person may be typing them
MAX_PAUSE = 10.0  # seconds between the predictions of two chunks; if it takes longer, chunks become smaller

_Item = TypeVar("_Item")
PredictProgress = Callable[[int], None]  # called with the number of texts predicted so far; may raise to stop


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable label of a text, its probability, and the probabilities of all labels."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Predictor:
    """A model that cleans and truncates texts as in training. Created by `hpo.load`."""

    def __init__(self, classifier: TextClassifier, info: ModelInfo) -> None:
        self.info = info
        self.labels = tuple(info.labels)
        self._classifier = classifier
        self._clean = build_cleaner(info.clean)

    def predict(self, texts: Iterable[str]) -> list[Prediction]:
        """Return one Prediction per text, in the same order. A single text goes in a list: `predict(["good"])[0]`.

        Raises DataError for a text that is null, not a string, or empty, before or after cleaning; TypeError for a
        string instead of a list.
        """
        cleaned = _raise_errors(self._clean_texts(_refuse_string(texts)))
        return list(_raise_errors(self._predict_chunks(iterate_chunks(cleaned, MAX_CHUNK), None)))

    def stream(
        self,
        texts: Iterable[str | DataError],
        on_progress: PredictProgress | None = None,
        is_ready: Callable[[], bool] = lambda: True,
    ) -> Iterator[Prediction]:
        """Yield the same predictions one by one while texts are still being read.

        The first prediction does not wait for a second text; later, at most MAX_CHUNK texts are read ahead. If
        `is_ready` returns False, the next text is not available yet, and all texts read so far are predicted first.
        The predictions of all texts before an unusable one are yielded before its DataError is raised.
        So is a DataError among the texts.
        """
        cleaned = _raise_errors(self._clean_texts(_refuse_string(texts)))
        return _raise_errors(self._predict_chunks(iterate_chunks(cleaned, 1, is_ready), on_progress))

    def stream_each(
        self,
        texts: Iterable[str | DataError],
        on_progress: PredictProgress | None = None,
        is_ready: Callable[[], bool] = lambda: True,
    ) -> Iterator[Prediction | DataError]:
        """Yield as `stream` does, but in the place of a text that cannot be classified yield its DataError.

        The texts may contain such a DataError already, for a text that could not be read.
        """
        cleaned = self._clean_texts(_refuse_string(texts))
        return self._predict_chunks(iterate_chunks(cleaned, 1, is_ready), on_progress)

    def _clean_texts(self, texts: Iterable[str | DataError]) -> Iterator[str | DataError]:
        steps = ", ".join(map(str, self.info.clean))
        for number, text in enumerate(texts, start=1):
            where = f"text {number}"
            try:
                cleaned = text
                if not isinstance(text, DataError):
                    cleaned = check_text(self._clean(check_text(text, where)), where, f" after cleaning ({steps})")
            except DataError as error:
                cleaned = error
            yield cleaned

    def _predict_chunks(
        self, chunks: Iterable[Sequence[str | DataError]], on_progress: PredictProgress | None
    ) -> Iterator[Prediction | DataError]:
        done = 0
        for chunk in chunks:
            yield from self._predict_chunk(chunk, done, on_progress)
            done += len(chunk)

    def _predict_chunk(
        self, chunk: Sequence[str | DataError], done: int, on_progress: PredictProgress | None
    ) -> list[Prediction | DataError]:
        """Return what is yielded for a chunk, of which `done` texts came before."""
        encoded = self._encode(chunk, done)
        report = (lambda done_in_chunk, _: on_progress(done + done_in_chunk)) if on_progress else None
        readable = [item for item in encoded if not isinstance(item, DataError)]
        predictions = iter(self._predict_encoded(readable, report))
        return [item if isinstance(item, DataError) else next(predictions) for item in encoded]

    def _encode(self, chunk: Sequence[str | DataError], done: int) -> list[Any]:
        """Return what the model reads of each text, or a DataError if that is nothing or the text is one."""
        texts = [text for text in chunk if not isinstance(text, DataError)]
        encoded_texts = iter(self._classifier.encode(texts) if texts else [])
        encoded: list[Any] = []
        for number, text in enumerate(chunk, start=done + 1):
            item = text if isinstance(text, DataError) else next(encoded_texts)
            encoded.append(item or DataError(f"text {number} has no tokens: {quote_value(text)}; remove it"))
        return encoded

    def _predict_encoded(self, encoded: Sequence[Any], report: Callable[[int, int], None] | None) -> list[Prediction]:
        import numpy as np

        if not encoded:
            return []
        probabilities = self._classifier.predict_probabilities(encoded, report)
        if not np.isfinite(probabilities).all():
            raise ModelError(
                f"the predicted probabilities are not finite: the model's weights are damaged; {self.info.remedy}"
            )
        return [self._build_prediction(row) for row in probabilities.tolist()]

    def _build_prediction(self, probabilities: list[float]) -> Prediction:
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        by_label = dict(zip(self.labels, probabilities, strict=True))
        return Prediction(self.labels[best], probabilities[best], by_label)


def load_predictor(path: str | PathLike[str], trust_remote_code: bool = False) -> Predictor:
    """Return the Predictor of a model folder, or of a study file for which `hpo retrain` has created one.

    Code that comes with a model runs only if the study file or the argument sets `trust_remote_code`. Raises SpecError
    for the study file; ModelError for a folder that does not exist, was not created by hpo, or is damaged.
    """
    folder, is_trusted = locate_model(path)
    classifier, info = read_classifier(folder, trust_remote_code or is_trusted)
    try:
        return Predictor(classifier, info)
    except ValueError as error:  # a cleaning step that this version, or a plug-in that is missing, does not have
        raise ModelError(f"{folder / INFO_FILE}: clean: {error}") from None


def locate_model(path: str | PathLike[str], overrides: Sequence[str] = ()) -> tuple[Path, bool]:
    """Return the model folder of a study file, or a model folder itself, and whether the study trusts remote code.

    Raises SpecError and ModelError as `load_predictor` does, as far as that is possible without reading the weights.
    """
    path = expand_path(path)
    if path.is_dir():
        if overrides:
            raise SpecError(
                "--set", mask_override(overrides[0]), f"changes a study file, but {path} is a folder; leave it out"
            )
        _refuse_other_folders(path)
        return path, False
    if path.suffix.lower() in READERS:
        raise ModelError(
            f"{path}: is neither a study file nor a model folder; to predict its texts, run "
            f"hpo predict STUDY --file {shlex.quote(str(path))}"
        )
    if not path.exists() and path.suffix != ".toml":
        raise ModelError(f"{path}: no such study file or model folder")
    study = load_study(path, tuple(overrides))
    return find_deployed_folder(study), study.model.trust_remote_code


def find_deployed_folder(study: StudySpec) -> Path:
    """Return the folder of a study's deployed model. Raises ModelError if there is none yet."""
    folder = study.model_folder
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder; {study.command('retrain')} creates it")
    return folder


def _refuse_other_folders(folder: Path) -> None:
    """Raise ModelError for the other folders that `hpo search` and `hpo retrain` create."""
    if (folder / INFO_FILE).exists():
        return
    if (folder / "trial.json").exists():
        raise ModelError(
            f"{folder}: has the weights of a search, which are not retrained yet; "
            f"hpo retrain STUDY creates {folder.parent / 'model'}"
        )
    if (folder / "model" / INFO_FILE).exists():
        raise ModelError(f"{folder}: is not a model folder; did you mean {folder / 'model'}?")


def _raise_errors(items: Iterable[_Item | DataError]) -> Iterator[_Item]:
    """Yield the items up to the first DataError, and raise it."""
    for item in items:
        if isinstance(item, DataError):
            raise item
        yield item


def _refuse_string(texts: Iterable[_Item]) -> Iterable[_Item]:
    # A string is an iterable of strings too: without this check, each of its characters would be predicted.
    if isinstance(texts, str | bytes):
        raise TypeError("texts is a single string; expected several: put it in a list, [text]")
    return texts


def iterate_chunks(
    texts: Iterator[_Item], size: int, is_ready: Callable[[], bool] = lambda: True
) -> Iterator[list[_Item]]:
    """Yield texts in chunks of `size`, which doubles up to MAX_CHUNK, or halves if predictions take too long.

    A chunk is yielded early if the next text is not ready or does not arrive in time, and before an HpoError that
    reading a text raises.
    """
    chunk: list[_Item] = []
    deadline = time.monotonic() + WAIT_SECONDS
    try:
        for text in texts:
            chunk.append(text)
            if len(chunk) < size and time.monotonic() < deadline and is_ready():
                continue
            yielded = time.monotonic()
            yield chunk
            size = max(1, size // 2) if time.monotonic() - yielded > MAX_PAUSE else min(2 * size, MAX_CHUNK)
            chunk, deadline = [], time.monotonic() + WAIT_SECONDS
    except HpoError:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk
