"""The private names of optuna-dashboard that hpo uses; a failure here names the version that changed them."""

from __future__ import annotations

import importlib
import tomllib
from importlib.metadata import version
from pathlib import Path

import optuna
import optuna_dashboard
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import create_trial
from packaging.requirements import Requirement
from packaging.version import Version

from hpo.dashboard.board import StudyBoard
from hpo.dashboard.dashboard_internals import (
    DELETED_FILE,
    Note,
    file_key,
    read_note,
    read_plots,
    write_note,
)

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = version("optuna-dashboard")
ADVICE = f"optuna-dashboard {INSTALLED} does not fit hpo/dashboard/dashboard_internals.py: adapt it, or lower the bound"


def test_installed_version_is_within_the_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    (requirement,) = map(Requirement, project["optional-dependencies"]["dashboard"])
    assert Version(INSTALLED) in requirement.specifier and "<" in str(requirement.specifier)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("_note", "get_note_from_system_attrs"),
        ("_note", "save_note_with_version"),
        ("_custom_plot_data", "get_plotly_graph_objects"),
    ],
)
def test_private_names_exist(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(f"optuna_dashboard.{module}"), name), f"{ADVICE} ({module}.{name})"


def test_note_of_a_study_is_read_by_the_public_function() -> None:
    study = optuna.create_study()
    write_note(study, None, Note(1, "text"))
    assert optuna_dashboard.get_note(study) == "text", ADVICE
    assert read_note(study._storage.get_study_system_attrs(study._study_id), None) == Note(1, "text"), ADVICE


def test_note_of_a_finished_trial_is_kept_by_trial() -> None:
    study = optuna.create_study()
    study.add_trials([create_trial(value=value) for value in (0.1, 0.2)])
    first, second = (trial._trial_id for trial in study.get_trials())
    write_note(study, second, Note(3, "text"))
    attributes = study._storage.get_study_system_attrs(study._study_id)
    assert read_note(attributes, second) == Note(3, "text"), ADVICE
    assert read_note(attributes, first) == read_note(attributes, None) == Note(0, ""), ADVICE


def test_plots_are_read_as_the_public_function_writes_them() -> None:
    study = optuna.create_study()
    figure = optuna.visualization.plot_optimization_history(study)
    optuna_dashboard.save_plotly_graph_object(study, figure, graph_object_id="hpo-plot")
    attributes = study._storage.get_study_system_attrs(study._study_id)
    assert read_plots(attributes) == {"hpo-plot": figure.to_json()}, ADVICE


def test_files_have_the_keys_that_the_dashboard_lists(tmp_path_factory: pytest.TempPathFactory) -> None:
    backend = importlib.import_module("optuna_dashboard.artifact._backend")
    study = optuna.create_study()
    study.add_trial(create_trial(value=0.1))
    board = StudyBoard(study, FileSystemArtifactStore(tmp_path_factory.mktemp("artifacts")))
    trial = study.get_trials()[0]
    assert board.write_file("study.txt", "text/plain", "of the study")
    assert board.write_file("trial.txt", "text/plain", "of the trial", trial)
    (study_key, trial_key) = sorted(key for key in board.attributes() if "artifacts:" in key)
    of_study, of_trial = study_key.split(":")[-1], trial_key.split(":")[-1]
    ids = study._storage, study._study_id
    assert backend.get_study_artifact_meta(*ids, of_study)["filename"] == "study.txt", ADVICE
    assert backend.get_trial_artifact_meta(*ids, trial._trial_id, of_trial)["filename"] == "trial.txt", ADVICE
    study._storage.set_study_system_attr(study._study_id, file_key(of_study, None), DELETED_FILE)
    assert backend.list_study_artifacts(board.attributes()) == [], ADVICE
