"""The ledger recognizes test rows that other studies of the store used, also cleaned, cut or completed ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from hpo.data.splits import load_splits
from hpo.evaluation.sealed_split import Reuse, SealedTestSplit, find_reuse, record_use
from hpo.store.row_hashes import read_row_hashes, write_row_hashes
from hpo.study.spec import StudySpec, load_study
from hpo.study.spec_tables import DataSpec
from tests.data.test_splits import GOOD, write

TEST_ROWS = [(f"<b>Row</b> {row}", row % 2) for row in range(40)]


@pytest.fixture
def spec(small: Path) -> StudySpec:
    return load_study(small)


def use_test_split(storage: Any, spec: StudySpec, name: str, rows: list[Any], **keys: Any) -> SealedTestSplit:
    """Score predictions for test rows in a companion study of that name."""
    folder = spec.file.parent
    files = {"train": write(folder / f"{name}-train.csv", GOOD), "test": write(folder / f"{name}-test.csv", rows)}
    data = load_splits(DataSpec.model_validate({**files, **keys}), folder)
    assert data.test
    study = optuna.create_study(storage=storage, study_name=f"{name}/final", load_if_exists=True)
    sealed = SealedTestSplit(data.test, data.label_names, study, spec)
    sealed.reveal(np.full((len(data.test), 2), 0.5), "test", 0)
    return sealed


def test_reuse_is_recognized_by_rows_before_cleaning(spec: StudySpec) -> None:
    storage = optuna.storages.InMemoryStorage()
    ours = use_test_split(storage, spec, "ours", TEST_ROWS)
    study = optuna.load_study(study_name="ours/final", storage=storage)
    assert find_reuse(study, ours.fingerprint) == Reuse({}, {}, 0.0)
    use_test_split(storage, spec, "unrelated", [(f"other {row}", row % 2) for row in range(40)])
    cleaned = use_test_split(storage, spec, "cleaned", TEST_ROWS[:30], clean=["strip_html", "lowercase"])
    assert find_reuse(study, ours.fingerprint) == Reuse({"cleaned/final": 1}, {"cleaned/final": 0.75}, 0.75)
    use_test_split(storage, spec, "late", [*TEST_ROWS[20:38], ("more", 1)])
    use_test_split(storage, spec, "late", [*TEST_ROWS[20:38], ("more", 1)])
    shares = {"cleaned/final": 0.75, "late/final": 0.45}
    assert find_reuse(study, ours.fingerprint) == Reuse({"cleaned/final": 1, "late/final": 2}, shares, 0.95)
    other = optuna.load_study(study_name="cleaned/final", storage=storage)
    assert find_reuse(other, cleaned.fingerprint).shares == {"ours/final": 1.0, "late/final": 1 / 3}


def test_ledger_without_hashes_counts_by_fingerprint(spec: StudySpec) -> None:
    storage = optuna.storages.InMemoryStorage()
    ours = use_test_split(storage, spec, "ours", TEST_ROWS)
    study = optuna.load_study(study_name="ours/final", storage=storage)
    for name, fingerprint in (("old", ours.fingerprint), ("older", "0123456789abcdef")):
        old = optuna.create_study(storage=storage, study_name=f"{name}/final")
        record_use(old, spec, "test", fingerprint)
        record_use(old, spec, "test", "another")
    assert find_reuse(study, ours.fingerprint) == Reuse({"old/final": 1}, {"old/final": 1.0}, 1.0)
    assert find_reuse(optuna.load_study(study_name="old/final", storage=storage), ours.fingerprint).share == 1.0


def test_hashes_are_stable_and_stored_in_small_attributes() -> None:
    study = optuna.create_study()
    hashes = {number * 0x9E3779B97F4A7C15 % 2**64 for number in range(10_000)} | {0, 2**64 - 1}
    write_row_hashes(study, hashes)
    assert read_row_hashes(study.user_attrs) == hashes
    assert len(study.user_attrs) == 3 and all(len(value) < 2**16 - 2 for value in study.user_attrs.values())
    assert read_row_hashes({}) == frozenset()


def test_hash_of_a_text_never_changes(tmp_path: Path) -> None:
    """Stores of all versions are compared by it: blake2b of UTF-8, 8 bytes, little-endian."""
    write(tmp_path / "train.csv", GOOD)
    write(tmp_path / "test.csv", [("Caf\u00e9 <br>", 0), ("caf\u00e9", 1)])
    data = load_splits(
        DataSpec.model_validate({"train": "train.csv", "test": "test.csv", "clean": ["strip_html"]}), tmp_path
    )
    assert (
        data.test
        and data.test.raw_hashes == [9224450683927603607, 16417751708935026519]
        and data.train.raw_hashes == []
    )
