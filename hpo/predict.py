"""Model folder + texts -> labels and probabilities."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.data.cleaning import build_cleaner
from hpo.data.text_stream import STREAM_READERS, check_text
from hpo.errors import DataError, HpoError, ModelError, SpecError
from hpo.study.spec import load_study
from hpo.training.model_folder import INFO_FILE, ModelInfo, read_model_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_CHUNK = 1024  # texts in a chunk: those of like length share a batch, so a large one is cheap
WAIT_SECONDS = 1.0  # seconds after which no more texts are waited for: a person may type them
MAX_PAUSE = 10.0  # seconds between two chunks' answers after which chunks become smaller

PredictProgress = Callable[[int], None]  # texts answered so far; may raise to stop


@dataclass(frozen=True, slots=True)
class Prediction:
    """The likeliest label of a text, its probability, and that of every label."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Predictor:
    """A model that was made by `hpo retrain`, asked as it was trained: same cleaning, same length."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, recipe: ModelInfo) -> None:
        from hpo.training.inference import to_accelerator

        self.recipe = recipe
        self.labels = tuple(recipe.labels)
        self._model = to_accelerator(model)
        self._tokenizer = tokenizer
        self._clean = build_cleaner(recipe.clean)

    def predict(self, texts: Iterable[str]) -> list[Prediction]:
        """One Prediction per text, in their order. One text alone goes in a list: predict(["good"])[0].

        Raises DataError for a text that is null, no string, or empty, also once it is cleaned; TypeError for a string
        in the place of the list.
        """
        return list(self._answers(_chunks(self._cleaned(_several(texts)), MAX_CHUNK), None))

    def stream(
        self, texts: Iterable[str], pulse: PredictProgress | None = None, ready: Callable[[], bool] = lambda: True
    ) -> Iterator[Prediction]:
        """The same, one by one while the texts are still being read: the first at once, at most MOST are read ahead.

        Where the next text is not `ready` yet, those that came are answered first. Before an unusable text raises its
        DataError, all texts that come before it are answered.
        """
        return self._answers(_chunks(self._cleaned(_several(texts)), 1, ready), pulse)

    def _answers(self, chunks: Iterable[list[str]], pulse: PredictProgress | None) -> Iterator[Prediction]:
        done = 0
        for chunk in chunks:
            yield from self._ask(chunk, done, pulse)
            done += len(chunk)

    def _cleaned(self, texts: Iterable[str]) -> Iterator[str]:
        steps = ", ".join(map(str, self.recipe.clean))
        for number, text in enumerate(texts, start=1):
            place = f"text {number}"
            yield check_text(self._clean(check_text(text, place)), place, f" after cleaning ({steps})")

    def _ask(self, texts: list[str], done: int, pulse: PredictProgress | None) -> list[Prediction]:
        import numpy as np

        from hpo.training.inference import predict_probabilities

        plain = {"return_attention_mask": False, "return_token_type_ids": False}
        ids = self._tokenizer(texts, truncation=True, max_length=self.recipe.max_length, **plain)["input_ids"]
        if [] in ids:
            bad = ids.index([])
            raise DataError(f"text {done + bad + 1} has no tokens: {texts[bad]!r:.60}")
        told = (lambda here, _: pulse(done + here)) if pulse else None
        shares = predict_probabilities(self._model, self._tokenizer, [{"input_ids": row} for row in ids], told)
        if not np.isfinite(shares).all():
            raise ModelError("the model's answers are no numbers; its weights are damaged; hpo retrain makes it anew")
        return [self._prediction(row) for row in shares.tolist()]

    def _prediction(self, shares: list[float]) -> Prediction:
        best = max(range(len(shares)), key=shares.__getitem__)
        return Prediction(self.labels[best], shares[best], dict(zip(self.labels, shares, strict=True)))


def load_predictor(path: str | PathLike[str], trust_remote_code: bool = False) -> Predictor:
    """The Predictor of a model folder, or of a study file whose model `hpo retrain` has made.

    Code that a model brings runs only where the study file says so, or `trust_remote_code`. Raises SpecError for the
    study file, ModelError for a folder that is not there, was not made by `hpo retrain`, or is damaged.
    """
    folder, trusted = locate_model(path)
    model, tokenizer, recipe = read_model_folder(folder, trust_remote_code or trusted)
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # transformers 5 makes up an empty one without a word
        raise ModelError(f"{folder}: no tokenizer beside the weights; hpo retrain makes it anew")
    if model.config.num_labels != len(recipe.labels):
        raise ModelError(
            f"{folder}: {INFO_FILE} names {len(recipe.labels)} labels, the weights have {model.config.num_labels}; "
            "hpo retrain makes it anew"
        )
    try:
        return Predictor(model, tokenizer, recipe)
    except ValueError as error:  # of a cleaning step that this version does not have
        raise ModelError(f"{folder / INFO_FILE}: clean: {error}") from None


def locate_model(path: str | PathLike[str], overrides: Sequence[str] = ()) -> tuple[Path, bool]:
    """The model folder that a study file or the folder's own path means, and whether the study trusts its code.

    Raises SpecError and ModelError as `load`, for what can be told without reading the weights.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        if overrides:
            raise SpecError("--set", overrides[0], f"changes a study file; {path} is a folder")
        _refuse_other_folders(path)
        return path, False
    if path.suffix.lower() in STREAM_READERS:
        raise ModelError(
            f"{path}: is no study file and no model folder; hpo predict STUDY --file {path.name} reads texts"
        )
    if not path.exists() and path.suffix != ".toml":
        raise ModelError(f"{path}: no such study file or model folder")
    study = load_study(path, tuple(overrides))
    folder = study.model_folder
    if not folder.is_dir():
        raise ModelError(f"{folder}: no model folder; {study.command('retrain')} makes it")
    return folder, study.model.trust_remote_code


def _refuse_other_folders(folder: Path) -> None:
    """Say what a folder is that `hpo search` or `hpo retrain` has made, but that holds no model to predict with."""
    if (folder / INFO_FILE).exists():
        return
    if (folder / "trial.json").exists():
        raise ModelError(
            f"{folder}: the weights of a search, not yet retrained; hpo retrain STUDY makes {folder.parent / 'model'}"
        )
    if (folder / "model" / INFO_FILE).exists():
        raise ModelError(f"{folder}: no model folder; did you mean {folder / 'model'}?")


def _several(texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, str | bytes):
        raise TypeError("texts is one string; expected several: put it in a list, [text]")
    return texts


def _chunks(coming: Iterator[str], size: int, ready: Callable[[], bool] = lambda: True) -> Iterator[list[str]]:
    """Texts by the chunk, of a size that starts here and adapts; all before an unusable text come before its error."""
    chunk: list[str] = []
    until = time.monotonic() + WAIT_SECONDS
    try:
        for text in coming:
            chunk.append(text)
            if len(chunk) < size and time.monotonic() < until and ready():
                continue
            given = time.monotonic()
            yield chunk
            size = max(1, size // 2) if time.monotonic() - given > MAX_PAUSE else min(2 * size, MAX_CHUNK)
            chunk, until = [], time.monotonic() + WAIT_SECONDS
    except HpoError:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk
