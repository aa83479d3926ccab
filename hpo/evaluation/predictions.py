"""The test predictions of a final run: a CSV table among the artifacts of its trial, and its checksum."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import optuna
import pandas
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial

from hpo.atomic import scratch_folder
from hpo.data.csv_writer import write_csv
from hpo.errors import StudyError
from hpo.store.run_record import RunRecord, remaking_command

PREDICTIONS_FILE = "predictions.csv"


class DamagedPredictionsError(StudyError):
    """The stored predictions of a run are missing, or are not those that were written."""


def write_predictions(
    trial: optuna.Trial, table: pandas.DataFrame, storage: optuna.storages.BaseStorage, files: FileSystemArtifactStore
) -> str:
    """Store a run's table (see `SealedTestSplit.reveal`) as an artifact of its trial, and return its SHA-256."""
    with scratch_folder() as folder:
        file = folder / PREDICTIONS_FILE
        write_csv(table, file)
        upload_artifact(
            artifact_store=files, file_path=str(file), study_or_trial=trial, storage=storage, mimetype="text/csv"
        )
        return hashlib.sha256(file.read_bytes()).hexdigest()


def read_predictions(
    trial: FrozenTrial, storage: optuna.storages.BaseStorage, files: FileSystemArtifactStore
) -> pandas.DataFrame | None:
    """Return the table of a run's test predictions (see `SealedTestSplit.reveal`), or None if the run made none.

    Raises DamagedPredictionsError if the file is missing or damaged. Runs of earlier versions have no checksum; of
    these, files that are cut or not a table are recognized.
    """
    run = RunRecord.from_trial(trial)
    ids = [
        meta.artifact_id for meta in get_all_artifact_meta(trial, storage=storage) if meta.filename == PREDICTIONS_FILE
    ]
    if run.test is None and not ids:
        return None
    try:
        with files.open_reader(ids[0]) as reader:
            content = reader.read()
    except (IndexError, ArtifactNotFound, OSError):
        raise _damage(run, "are missing from the artifact folder; restore the folder next to the store, or") from None
    if run.predictions_sha256 and hashlib.sha256(content).hexdigest() != run.predictions_sha256:
        raise _damage(run, "are damaged;")
    try:
        table = _read_table(content)
    except (ValueError, StopIteration, KeyError):  # UnicodeDecodeError is a ValueError
        raise _damage(run, "are damaged;") from None
    rows = sum(map(sum, run.test.confusion)) if run.test else len(table)
    if len(table) != rows:
        raise _damage(run, f"are damaged: {len(table)} of {rows} rows are left;")
    return table


def _damage(run: RunRecord, problem: str) -> DamagedPredictionsError:
    return DamagedPredictionsError(
        f"run {run.number} ({run.system}): its predictions {problem} `{remaking_command(run.system)}` makes them again"
    )


def _read_table(content: bytes) -> pandas.DataFrame:
    """Read a table of numbers. Each is the very float that was written, which pandas' own reader does not promise."""
    lines = io.StringIO(content.decode("utf8"))
    names = next(lines).strip().split(",")
    numbers = np.loadtxt(lines, delimiter=",", ndmin=2)
    return pandas.DataFrame(numbers, columns=names).astype(dict.fromkeys(("row", "label", "predicted"), int))
