"""The sealed test split, and the ledger of its uses.

Models predict the test texts without their labels. The labels are only compared with finished predictions, and each
such use is recorded in the study before any score is computed. So no choice can depend on the test labels, and a reader
can see how often they were used.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import optuna
import pandas
from numpy.typing import NDArray

from hpo.data.splits import Split
from hpo.evaluation.comparison_result import SplitUse
from hpo.evaluation.scores import score_and_tabulate
from hpo.store.optuna_internals import storage_of
from hpo.store.row_hashes import read_row_hashes, write_row_hashes
from hpo.store.run_record import SplitScores
from hpo.study.spec import StudySpec

_LEDGER_PREFIX = "ledger:"  # of the study attributes that record a use of the test split


class SealedTestSplit:
    """A test split whose labels are only accessible as scores. Models predict for `blind`, which has no labels."""

    def __init__(self, split: Split, label_names: tuple[str, ...], study: optuna.Study, spec: StudySpec) -> None:
        self.blind = Split(split.texts, [0] * len(split), split.ids)
        self.fingerprint = _fingerprint(split, label_names)
        self._raw_hashes = split.raw_hashes
        self._labels = np.asarray(split.labels)
        self._names = label_names
        self._study = study
        self._spec = spec

    def reveal(
        self, probabilities: NDArray[Any], command: str, run: int, has_probabilities: bool = True
    ) -> tuple[SplitScores, pandas.DataFrame]:
        """Return all scores of a run and the table of its predictions, after recording the use in the ledger.

        Args:
            probabilities: Class probabilities (n, k) for the texts of `blind`.
            command: What the scores are for, as the ledger records it.
            run: Number of the run in the companion study.
            has_probabilities: As for `score_and_tabulate`, which computes what is returned.
        """
        # Recorded first: a crash while scoring must not hide that the labels were used.
        write_row_hashes(self._study, self._raw_hashes)
        record_use(self._study, self._spec, command, self.fingerprint, run)
        return score_and_tabulate(self.blind.ids, self._labels, probabilities, self._names, has_probabilities)


def record_use(study: optuna.Study, spec: StudySpec, command: str, fingerprint: str, run: int | None = None) -> None:
    """Record in a study's ledger that a command uses the test split with this fingerprint now."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    use = SplitUse(when=now, command=command, spec_hash=spec.hash(), test=fingerprint, run=run)
    # One attribute per use, with a random suffix: processes that write at the same time do not overwrite each other.
    study.set_user_attr(f"{_LEDGER_PREFIX}{now}:{uuid.uuid4().hex[:8]}", use.model_dump())


def list_uses(study: optuna.Study) -> list[SplitUse]:
    """Return every recorded use of the test split in a study, the oldest first."""
    return _read_ledger(study.user_attrs)


@dataclass(frozen=True)
class Reuse:
    """Uses of a study's test rows by the other studies of its store."""

    uses: dict[str, int]  # name of the study -> number of uses
    shares: dict[str, float]  # name of the study -> share of the test rows that it used
    share: float  # that any of them used


def find_reuse(study: optuna.Study, fingerprint: str) -> Reuse:
    """Find out which other studies used test rows of a study with this fingerprint of its test split.

    A row is recognized by its text before cleaning, so neither another cleaning step nor one row less hides its use.
    Rows with the same text count as one. Studies of version 0.1.0 have no hashes of rows, and are recognized only if
    the whole split is equal.
    """
    ours = read_row_hashes(study.user_attrs)
    used: set[int] = set()
    uses, shares, is_same_split = {}, {}, False
    for other in storage_of(study).get_all_studies():  # Optuna's public summaries would read every trial of the store
        ledger = _read_ledger(other.user_attrs)
        if not ledger or other.study_name == study.study_name:
            continue
        common = ours & read_row_hashes(other.user_attrs)
        same_uses = sum(use.test == fingerprint for use in ledger)
        if common or same_uses:
            uses[other.study_name] = len(ledger) if common else same_uses
            shares[other.study_name] = len(common) / len(ours) if not same_uses else 1.0
            used |= common
            is_same_split = is_same_split or same_uses > 0
    return Reuse(uses, shares, 1.0 if is_same_split else len(used) / max(1, len(ours)))


def _read_ledger(attributes: dict[str, Any]) -> list[SplitUse]:
    keys = sorted(key for key in attributes if key.startswith(_LEDGER_PREFIX))  # keys start with the time of the use
    return [SplitUse.model_validate(attributes[key]) for key in keys]


def _fingerprint(split: Split, label_names: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps([label_names, split.texts, split.labels]).encode()).hexdigest()[:16]
