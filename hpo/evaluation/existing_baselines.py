"""Baselines that people have already: models that are run on the study's rows, and files of predictions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpo.data.cleaning import build_cleaner
from hpo.data.sources import load_source
from hpo.data.splits import Split, TextData
from hpo.errors import DataError, StudyError
from hpo.evaluation.existing_models import (
    ModelSource,
    describe_folder,
    load_model,
    match_model_labels,
    read_model_labels,
)
from hpo.evaluation.final_runs import FinalRuns, RunKey, RunOutcome
from hpo.evaluation.prediction_file import PredictionColumns, read_prediction_file
from hpo.evaluation.prediction_table import MatchedPredictions
from hpo.evaluation.pretrained_baseline import find_better_order
from hpo.evaluation.system_identity import read_commit
from hpo.paths import expand_path
from hpo.store.run_record import run_attributes
from hpo.study.spec import StudySpec
from hpo.study.spec_tables import ExistingModel, ExistingPredictions
from hpo.training.metrics import METRICS

LABELS_ONLY = "labels only, so scores that need probabilities are missing"


def check_existing_system(system: ExistingModel | ExistingPredictions, spec: StudySpec, data: TextData) -> None:
    """Raise HpoError if a system cannot be compared with the study's winner. Nothing is run.

    The labels of a model on the hub are checked when it is loaded.
    """
    if isinstance(system, ExistingModel):
        source = _locate_model(system, spec)
        if source.find_folder():
            match_model_labels(source, read_model_labels(source), data.label_names)
        return
    if data.test is None:
        raise StudyError(f"baseline {system.name}: predictions need a test split; set data.test, or leave it out")
    matched = _match_predictions(system, spec, data.label_names, data.test)
    if not matched.has_probabilities and METRICS[spec.objective].needs_probabilities:
        raise DataError(
            f"{_prediction_file(system, spec)}: has labels only, and {spec.objective} needs probabilities; add a "
            f"column per class, or leave the baseline {system.name} out"
        )


def fit_existing_model(final: FinalRuns, run: RunKey, name: str) -> RunOutcome:
    """Predict validation and test with a model as it is."""
    system = _find_system(final.spec, name)
    assert isinstance(system, ExistingModel)
    names, splits = final.data.label_names, {"validation": final.data.validation}
    if final.held_out:
        splits["test"] = final.held_out.blind
    texts = load_raw_texts(final.spec, splits)
    source = _locate_model(system, final.spec, run.source)
    model = load_model(source, names, final.load_predictor)
    started = time.monotonic()

    def predict(split: str) -> NDArray[np.float64]:
        def on_progress(done: int, count: int) -> None:
            final.stop.check()
            final.listener.step(done / count, f"predicting {done:,} of {count:,}")

        return model.predict(texts[split], on_progress)

    predicted = {split: predict(split) for split in splits}
    seconds = time.monotonic() - started
    what = f"{describe_folder(source.path)} ({run.source})" if source.path.is_dir() else run.source
    description = f"the model {what}"
    if model.assumed:
        description += f", assuming {model.assumed}"
    if better := find_better_order(predicted["validation"], final.data.validation.labels, names):
        description += f"; {better}"
        final.listener.notice(f"{name}: {better}")
    times = {"fit": 0.0, "predict": seconds, "wall": seconds}
    attributes = run_attributes(effective={"as": description})
    return RunOutcome(predicted["validation"], predicted.get("test"), times, attributes)


def read_existing_predictions(final: FinalRuns, run: RunKey, name: str) -> RunOutcome:
    """Read the predictions for the test split from a file; there are none for validation."""
    system = _find_system(final.spec, name)
    assert isinstance(system, ExistingPredictions)
    if final.held_out is None:
        raise StudyError(f"baseline {name}: predictions need a test split; set data.test, or leave it out")
    matched = _match_predictions(system, final.spec, final.data.label_names, final.held_out.blind)
    description = f"the predictions in {_prediction_file(system, final.spec).name} ({run.source})"
    if not matched.has_probabilities:
        description += f", {LABELS_ONLY}"
    attributes = run_attributes(effective={"as": description})
    return RunOutcome(None, matched.probabilities, {"fit": 0.0}, attributes, matched.has_probabilities)


def load_raw_texts(spec: StudySpec, splits: Mapping[str, Split]) -> dict[str, list[str]]:
    """Return the texts of splits as they were before the study cleaned them.

    Raises:
        DataError: The data have changed since the splits were loaded.
    """
    if not spec.data.clean:
        return {name: split.texts for name, split in splits.items()}
    tables, clean = load_source(spec.data, spec.file.parent), build_cleaner(spec.data.clean)
    raw_texts = {}
    for name, split in splits.items():
        # A split that is no split of the source was drawn from train, and so are its row numbers.
        texts = [text for table in tables.get(name, tables["train"]) for text in table.texts]
        raw_texts[name] = [texts[row] for row in split.ids if row < len(texts)]
        if list(map(clean, raw_texts[name])) != split.texts:
            raise DataError(f"the {name} texts have changed while they were read; run the command again")
    return raw_texts


def _find_system(spec: StudySpec, name: str) -> ExistingModel | ExistingPredictions:
    return next(system for system in spec.final.existing_systems if system.name == name)


def _locate_model(system: ExistingModel, spec: StudySpec, source: str = "") -> ModelSource:
    """Return where a model is; with the source of a run, a model of the hub at the commit that the run is of."""
    return ModelSource(
        key=f"baseline {system.name}",
        name=system.model,
        base=spec.file.parent,
        revision=read_commit(source) or system.revision,
        max_length=system.max_length,
        trust_remote_code=spec.model.trust_remote_code,
    )


def _prediction_file(system: ExistingPredictions, spec: StudySpec) -> Path:
    return spec.file.parent / expand_path(system.predictions)


def _match_predictions(
    system: ExistingPredictions, spec: StudySpec, names: tuple[str, ...], test: Split
) -> MatchedPredictions:
    columns = PredictionColumns(system.row, system.text, system.label, spec.data.text)
    table = read_prediction_file(_prediction_file(system, spec), columns, names)
    return table.match(test.ids, test.texts, build_cleaner(spec.data.clean))
