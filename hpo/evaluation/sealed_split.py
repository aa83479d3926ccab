"""The test split under seal: its labels come out as scores only, each time with an entry in the ledger."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import numpy as np
import optuna
import pandas
from numpy.typing import NDArray

from hpo.data.splits import Split
from hpo.evaluation.scores import score_run
from hpo.study.spec import StudySpec

_ENTRY = "ledger:"


class SealedTestSplit:
    """A test split; whoever predicts for it gets `blind`, which has no labels, so nothing can be chosen by them."""

    def __init__(self, split: Split, label_names: tuple[str, ...], study: optuna.Study, spec: StudySpec) -> None:
        self.blind = Split(split.texts, [0] * len(split), split.ids)
        self.fingerprint = _fingerprint(split, label_names)
        self._labels = np.asarray(split.labels)
        self._names = label_names
        self._study = study
        self._spec = spec

    def reveal(self, probabilities: NDArray[Any], command: str, run: int) -> tuple[dict[str, Any], pandas.DataFrame]:
        """All scores of a run, and the table of its predictions; the ledger has the entry before anything is seen.

        The table has a row per text: its row number in the split as given, its label, the label predicted, and a
        column of probabilities per class.
        """
        record_use(self._study, self._spec, command, self.fingerprint, run)
        table = pandas.DataFrame({"row": self.blind.ids, "label": self._labels})
        table["predicted"] = probabilities.argmax(axis=1)
        for place in range(len(self._names)):
            table[f"probability_{place}"] = probabilities[:, place]
        return score_run(self._labels, probabilities, self._names), table


def record_use(study: optuna.Study, spec: StudySpec, command: str, fingerprint: str, run: int | None = None) -> None:
    """Write into a study that the test split of this fingerprint is used now, by which command, of which study."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry = {"when": now, "command": command, "spec_hash": spec.hash(), "test": fingerprint, "run": run}
    study.set_user_attr(f"{_ENTRY}{now}:{uuid.uuid4().hex[:8]}", entry)


def list_uses(study: optuna.Study) -> list[dict[str, Any]]:
    """Every use of the test split that a study knows of, the first one first."""
    attributes = study.user_attrs
    return [attributes[key] for key in sorted(attributes) if key.startswith(_ENTRY)]


def count_uses_elsewhere(study: optuna.Study, fingerprint: str) -> dict[str, int]:
    """Other studies of the same store that used the same test rows -> how often."""
    found = {}
    for other in study._storage.get_all_studies():  # Optuna's public summaries would read every trial of the store
        uses = [value for key, value in other.user_attrs.items() if key.startswith(_ENTRY)]
        count = sum(entry["test"] == fingerprint for entry in uses)
        if count and other.study_name != study.study_name:
            found[other.study_name] = count
    return found


def _fingerprint(split: Split, label_names: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps([label_names, split.texts, split.labels]).encode()).hexdigest()[:16]
