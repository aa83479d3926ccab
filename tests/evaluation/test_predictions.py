"""Damaged predictions and weights are never used, and the commands that made them make them again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import ModelError
from hpo.evaluation.baselines import run_baselines
from hpo.evaluation.comparison import compare_study
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.predictions import DamagedPredictionsError
from hpo.evaluation.retraining import retrain
from hpo.predict import load_predictor
from hpo.store.storage import storage_url
from hpo.study.spec import load_study
from tests.evaluation.conftest import RecordingListener
from tests.support.evaluated_study import study_file

__all__ = ["study_file"]


def cut_at_line(file: Path) -> None:
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[: len(lines) // 2]))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:700]),
    "cut at a line": cut_at_line,
    "empty": lambda file: file.write_bytes(b""),
    "garbage": lambda file: file.write_bytes(bytes(range(256)) * 9),
    "one digit": lambda file: file.write_bytes(file.read_bytes()[:-3] + b"7\n"),
    "missing": lambda file: file.unlink(),
}


def artifacts(study_file: Path) -> list[Path]:  # noqa: F811
    return sorted((study_file.parent / "store.artifacts").iterdir())


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_predictions_are_an_error_that_names_the_remedy(study_file: Path, damage: str) -> None:  # noqa: F811
    spec = load_study(study_file)
    for file in artifacts(study_file):
        DAMAGES[damage](file)
    with pytest.raises(
        DamagedPredictionsError,
        match=r"its predictions are .* `hpo (retrain STUDY|baseline STUDY recipe)` makes them again",
    ):
        compare_study(spec, storage_url(spec))


def test_commands_make_runs_with_damaged_predictions_again(study_file: Path) -> None:  # noqa: F811
    spec, listener = load_study(study_file), RecordingListener()
    before = compare_study(spec, storage_url(spec))
    for file in artifacts(study_file):
        cut_at_line(file)
    with open_final_runs(spec, storage_url(spec), listener, searched=True) as final:
        retrain(final)
        run_baselines(final, ["majority", "recipe"])
    assert listener.started == [("trial #0", 0), ("trial #0", 1), ("majority", 0)]
    assert listener.reused == [3, 4], "the winner has the values of the recipe, so these were just made"
    assert all("damaged, so the run is made again" in notice for notice in listener.notices)
    after = compare_study(spec, storage_url(spec))
    assert after.verdict == before.verdict and after.winner_system.test == before.winner_system.test


def test_damaged_weights_are_noticed_and_trained_again(study_file: Path) -> None:  # noqa: F811
    spec = load_study(study_file)
    weights = spec.model_folder / "model.safetensors"
    original = weights.read_bytes()
    weights.write_bytes(original[:-800] + bytes(400) + original[-400:])
    with pytest.raises(ModelError, match=r"model.safetensors: is damaged.*; delete the folder, and hpo retrain STUDY"):
        load_predictor(spec.model_folder)
    (spec.model_folder / "recipe.json").write_text(
        json.dumps({**json.loads((spec.model_folder / "recipe.json").read_text()), "files": {}})
    )
    assert load_predictor(spec.model_folder), "a folder of an earlier version has no checksums"
