"""Private names and storage keys of optuna-dashboard; no other module uses them.

Its public functions write notes and files of running trials only, and read no plots. Written for versions 0.20 and
0.21; tests/dashboard/test_dashboard_internals.py names the installed version if it does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from hpo.store.optuna_internals import storage_of, study_id

DELETED_FILE = "null"  # stored in place of a file that a person deleted


@dataclass(frozen=True)
class Note:
    """A note as the dashboard stores it; version 0 with an empty body if there is none."""

    version: int
    body: str


def read_note(attributes: Mapping[str, Any], trial_id: int | None) -> Note:
    """Return the note of a trial, or of the study, from the study's system attributes."""
    from optuna_dashboard._note import get_note_from_system_attrs

    note = get_note_from_system_attrs(dict(attributes), trial_id)
    return Note(note["version"], note["body"])


def write_note(study: optuna.Study, trial_id: int | None, note: Note) -> None:
    """Write the note of a trial in any state, or of the study. The public `save_note` takes running trials only."""
    from optuna_dashboard._note import save_note_with_version

    save_note_with_version(storage_of(study), study_id(study), trial_id, note.version, note.body)


def read_plots(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return the study's plots: identifier -> plotly JSON."""
    from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

    return dict(get_plotly_graph_objects(dict(attributes)))


def file_key(file_id: str, trial_id: int | None) -> str:
    """Return the system attribute of the study that describes a file of the study, or of one of its trials.

    The dashboard also reads a trial's files from the attributes of the trial, but a finished trial takes no attributes.
    """
    return f"artifacts:{file_id}" if trial_id is None else f"dashboard:artifacts:{trial_id}:{file_id}"


def file_description(file_id: str, name: str, mimetype: str) -> str:
    """Return the value of that attribute."""
    return json.dumps({"artifact_id": file_id, "filename": name, "mimetype": mimetype, "encoding": None})
