"""The test predictions of a final run: a CSV table among the artifacts of its trial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pandas
from optuna.artifacts import FileSystemArtifactStore, download_artifact, get_all_artifact_meta, upload_artifact
from optuna.trial import FrozenTrial

from hpo.atomic import scratch_folder
from hpo.data.csv_writer import write_csv
from hpo.errors import StudyError

PREDICTIONS_FILE = "predictions.csv"


def write_predictions(
    trial: optuna.Trial, table: pandas.DataFrame, storage: optuna.storages.BaseStorage, files: FileSystemArtifactStore
) -> None:
    """Store a run's table (see `SealedTestSplit.reveal`) as an artifact of its trial."""
    with scratch_folder() as folder:
        file = folder / PREDICTIONS_FILE
        write_csv(table, file)
        upload_artifact(
            artifact_store=files, file_path=str(file), study_or_trial=trial, storage=storage, mimetype="text/csv"
        )


def read_predictions(
    trial: FrozenTrial, storage: optuna.storages.BaseStorage, files: FileSystemArtifactStore
) -> pandas.DataFrame | None:
    """Return the table of a run's test predictions (see `SealedTestSplit.reveal`), or None if the run made none.

    Raises:
        StudyError: The file is missing from the artifact folder.
    """
    for meta in get_all_artifact_meta(trial, storage=storage):
        if meta.filename != PREDICTIONS_FILE:
            continue
        with scratch_folder() as folder:
            file = folder / PREDICTIONS_FILE
            try:
                download_artifact(artifact_store=files, file_path=str(file), artifact_id=meta.artifact_id)
            except optuna.artifacts.exceptions.ArtifactNotFound:
                raise StudyError(
                    f"run {trial.number}: its predictions are missing from the artifact folder; "
                    "restore the folder next to the store"
                ) from None
            return _read_table(file)
    return None


def _read_table(file: Path) -> pandas.DataFrame:
    """Read a table of numbers. Each is the very float that was written, which pandas' own reader does not promise."""
    with file.open(encoding="utf8") as lines:
        names = next(lines).strip().split(",")
        numbers = np.loadtxt(lines, delimiter=",", ndmin=2)
    return pandas.DataFrame(numbers, columns=names).astype(dict.fromkeys(("row", "label", "predicted"), int))
