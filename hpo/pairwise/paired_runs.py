"""The predictions of two systems for the same test rows: read from a store, or made now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray

from hpo.data.cleaning import build_cleaner
from hpo.errors import StudyError
from hpo.evaluation.comparison import record_comparison
from hpo.evaluation.existing_models import PredictionProgress, load_model
from hpo.evaluation.prediction_file import PredictionColumns, read_prediction_file
from hpo.evaluation.prediction_table import MatchedPredictions
from hpo.evaluation.predictions import read_predictions
from hpo.evaluation.scores import leave_labels_only, score_run
from hpo.evaluation.sealed_split import list_uses
from hpo.evaluation.stored_systems import find_studies, read_winner
from hpo.evaluation.system_runs import SystemRuns
from hpo.evaluation.winner import choose_deployed_run, find_winner
from hpo.pairwise.labelled_rows import LabelledRows
from hpo.pairwise.operands import Operand
from hpo.predict import load_predictor
from hpo.store.run_record import RunRecord
from hpo.store.storage import open_artifact_store, open_storage
from hpo.store.study_record import StudyRecord


@dataclass(frozen=True)
class PairedRuns:
    """The runs of one system on the test rows, and which of them is deployed."""

    operand: Operand
    runs: SystemRuns
    deployed: pandas.DataFrame
    source: str | None = None  # None for stored predictions
    assumed: str = ""  # what the labels of a model are taken to mean, if only their order says it


class StoredStudy:
    """A study whose final runs are stored, for comparisons on its test split."""

    def __init__(self, operand: Operand) -> None:
        assert operand.study is not None
        self.operand, self.spec = operand, operand.study
        self.storage = open_storage(operand.url, create=False)
        self.search, self.companion = find_studies(self.spec, self.storage)
        uses = list_uses(self.companion)
        if not uses:
            command = self.spec.command("retrain")
            raise StudyError(f"study {operand.name!r} has no run on its test split yet; run `{command}` first")
        self.test_fingerprint = uses[0].test
        self.clean = build_cleaner(self.spec.data.clean)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        data = StudyRecord.from_attributes(self.companion.user_attrs).data
        assert data is not None, "find_studies has checked it"
        return tuple(data.labels)

    def read_runs(self) -> PairedRuns:
        """Read the winner's runs."""
        files = open_artifact_store(self.operand.url, self.spec)
        winner, _ = find_winner(self.spec, self.search, self.companion)
        runs = read_winner(
            self.spec, self.companion, winner, lambda trial: read_predictions(trial, self.storage, files)
        )
        runs.name = self.operand.name
        run = choose_deployed_run(self.spec, runs.runs, self.companion.direction.name.lower(), None)
        return PairedRuns(self.operand, runs, runs.tables[runs.runs.index(run)] if run else runs.tables[0])

    def record_use(self, other: Operand) -> str:
        """Enter the comparison in the ledger of the test split, and say so."""
        if not record_comparison(self.spec, self.companion, f"compare with {other.name}"):
            return f"the ledger of study {self.operand.name} cannot be written, so this use of it is not recorded"
        count = len(list_uses(self.companion))
        return f"recorded in the ledger of study {self.operand.name}: its test split was used {count} times"


def keep_deployed_run(paired: PairedRuns) -> PairedRuns:
    """Return the system as it is deployed: a single run, for which other seeds are no question."""
    runs = paired.runs
    index = next(index for index, table in enumerate(runs.tables) if table is paired.deployed)
    single = SystemRuns(runs.name, [runs.runs[index]], [], [runs.tables[index]], is_deterministic=True)
    return replace(paired, runs=single)


def renumber_runs(paired: PairedRuns) -> PairedRuns:
    """Return a system with other numbers of runs: equal numbers would mean that both systems have the same runs."""
    renumbered = [replace(run, number=-1 - run.number) for run in paired.runs.runs]
    return replace(paired, runs=replace(paired.runs, runs=renumbered))


@dataclass(frozen=True)
class PredictedRows:
    """The predictions of a system that is compared as it is, before they are compared with the labels."""

    operand: Operand
    matched: MatchedPredictions
    assumed: str = ""

    def score(self, rows: LabelledRows) -> PairedRuns:
        """Compare the predictions with the labels, after the use of these was recorded."""
        runs = _score(self.operand.name, rows, self.matched)
        return PairedRuns(self.operand, runs, runs.tables[0], self.operand.compute_source(), self.assumed)


def predict_rows(operand: Operand, rows: LabelledRows, on_progress: PredictionProgress) -> PredictedRows:
    """Predict the test rows with a model, or find their predictions in a file.

    Raises:
        DataError, ModelError: The model cannot be loaded, or the predictions do not match the rows.
    """
    if operand.kind == "predictions":
        columns = PredictionColumns(default_text=rows.text_column)
        table = read_prediction_file(operand.path, columns, rows.names)
        return PredictedRows(operand, table.match(rows.split.ids, rows.split.texts, rows.clean))
    model = load_model(operand.model, rows.names, load_predictor)
    return PredictedRows(operand, MatchedPredictions(model.predict(rows.texts, on_progress), True), model.assumed)


def _score(name: str, rows: LabelledRows, matched: MatchedPredictions) -> SystemRuns:
    """Return the scores and the table of predictions of a system that is compared as it is."""
    scores = score_run(rows.labels, matched.probabilities, rows.names)
    columns: dict[str, Sequence[int] | NDArray[Any]] = {"row": rows.split.ids, "label": rows.labels}
    columns["predicted"] = np.argmax(matched.probabilities, axis=1)
    if matched.has_probabilities:
        columns |= {f"probability_{label}": matched.probabilities[:, label] for label in range(len(rows.names))}
    else:
        scores = leave_labels_only(scores)
    run = RunRecord(0, "complete", None, {"kind": name, "values": {}}, name, 0, test=scores)
    return SystemRuns(name, [run], [], [pandas.DataFrame(columns)], is_deterministic=True)
