"""Write notes, plots and files for the dashboard into a store, without overwriting those of a person."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.artifacts.exceptions import ArtifactNotFound

from hpo.dashboard.dashboard_internals import (
    DELETED_FILE,
    Note,
    file_description,
    file_key,
    read_note,
    read_plots,
    write_note,
)
from hpo.store.optuna_internals import storage_of, study_id, trial_id

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go
    from optuna.artifacts import FileSystemArtifactStore
    from optuna.trial import FrozenTrial

# The last line of our notes is a link definition, which Markdown does not render: author, kind, and a hash of the text
# above. Once a person edits the note the hash is wrong, and the note is treated as theirs.
_SIGNATURE = re.compile(r"(?P<text>.*)\n\n\[//\]: # \(hpo (?P<kind>[a-z]+) (?P<hash>[0-9a-f]{12})\)\s*", re.DOTALL)

_FILE_ID_PREFIX = "hpo:file:"  # of the system attributes that hold the ids of our files


@dataclass(frozen=True)
class StudyBoard:
    """The notes, plots and files of one study and its trials. Writers return whether they changed anything."""

    study: optuna.Study
    artifacts: FileSystemArtifactStore | None

    def attributes(self) -> dict[str, Any]:
        """Return the study's system attributes, in which the dashboard keeps everything."""
        return dict(storage_of(self.study).get_study_system_attrs(study_id(self.study)))

    def note_kind(self) -> str | None:
        """Return the kind of our note of the study; an empty text without a note, None for a person's note."""
        return _kind_of(read_note(self.attributes(), None))

    def write_note(
        self, text: str, kind: str, trial: FrozenTrial | None = None, cached_attributes: Mapping[str, Any] | None = None
    ) -> bool:
        """Write the note of the study, or of a trial in any state, unless a person wrote, edited or emptied it.

        `cached_attributes` may be older than the store: if they have the same note already, the store is not read.
        """
        note_owner, body = trial_id(trial) if trial else None, _sign(text, kind)
        if cached_attributes is not None and not _is_due(read_note(cached_attributes, note_owner), body):
            return False
        stored = read_note(self.attributes(), note_owner)
        if not _is_due(stored, body):
            return False
        write_note(self.study, note_owner, Note(stored.version + 1, body))
        return True

    def write_plot(self, name: str, figure: go.Figure) -> bool:
        """Write a plot, replacing an earlier one of the same name."""
        from optuna_dashboard import save_plotly_graph_object

        if read_plots(self.attributes()).get(name) == figure.to_json():
            return False
        save_plotly_graph_object(self.study, figure, graph_object_id=name)
        return True

    def write_file(self, name: str, mimetype: str, content: str, trial: FrozenTrial | None = None) -> bool:
        """Attach a file to the study, or to a trial in any state, unless a person deleted it.

        Optuna's `upload_artifact` fails for finished trials. The file's random id is kept in the store, so that a new
        version replaces the old one, and a deleted file is recognized.
        """
        if self.artifacts is None:
            return False
        attributes, data, owner = self.attributes(), content.encode(), trial_id(trial) if trial else None
        id_key = f"{_FILE_ID_PREFIX}{'' if trial is None else f'{trial.number}:'}{name}"
        guessable_id = self._guessable_id(name, trial)
        file_id = attributes.get(id_key, guessable_id)
        stored = attributes.get(file_key(file_id, owner))
        if stored == DELETED_FILE or (id_key in attributes and stored and self._has_content(file_id, data)):
            return False
        if file_id == guessable_id:
            file_id = str(uuid.uuid4())
            self._set_attribute(id_key, file_id)
        self.artifacts.write(file_id, io.BytesIO(data))
        self._set_attribute(file_key(file_id, owner), file_description(file_id, name, mimetype))
        if id_key not in attributes and stored:
            self._set_attribute(file_key(guessable_id, owner), DELETED_FILE)
            with contextlib.suppress(ArtifactNotFound):
                self.artifacts.remove(guessable_id)
        return True

    def _guessable_id(self, name: str, trial: FrozenTrial | None) -> str:
        """Return the id that earlier versions gave a file. Everybody can compute it, so it is replaced."""
        owner = "" if trial is None else f"{trial.number} "
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"hpo {self.study.study_name} {owner}{name}"))

    def _set_attribute(self, key: str, value: str) -> None:
        storage_of(self.study).set_study_system_attr(study_id(self.study), key, value)

    def _has_content(self, file_id: str, data: bytes) -> bool:
        assert self.artifacts
        with contextlib.suppress(ArtifactNotFound), self.artifacts.open_reader(file_id) as file:
            return file.read() == data
        return False


def _is_due(stored: Note, body: str) -> bool:
    """Whether a note of ours should be written over what is stored."""
    return _kind_of(stored) is not None and stored.body != body


def _sign(text: str, kind: str) -> str:
    text = text.strip()
    return f"{text}\n\n[//]: # (hpo {kind} {_hash_text(text)})\n"


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _kind_of(note: Note) -> str | None:
    """Return the kind of a note of ours, an empty text if there is no note, None for a person's note."""
    if note.version == 0 and not note.body:
        return ""
    match = _SIGNATURE.fullmatch(note.body)
    return match["kind"] if match and _hash_text(match["text"]) == match["hash"] else None
