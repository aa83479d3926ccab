"""Notes, plots and files in a store, where optuna-dashboard looks for them; what a person wrote is never touched."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.artifacts.exceptions import ArtifactNotFound

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go
    from optuna.artifacts import FileSystemArtifactStore
    from optuna.trial import FrozenTrial

# The last line of a note of ours is a link definition, which Markdown does not show: whose note it is, of which kind,
# and a hash of the text above. Once a person has changed anything, the hash is wrong, and the note is theirs.
_SIGNED = re.compile(r"(?P<text>.*)\n\n\[//\]: # \(hpo (?P<kind>[a-z]+) (?P<hash>[0-9a-f]{12})\)\s*", re.DOTALL)


@dataclass(frozen=True)
class StudyBoard:
    """One study, to which things are pinned for the dashboard."""

    study: optuna.Study
    files: FileSystemArtifactStore | None

    def attributes(self) -> dict[str, Any]:
        """The study's system attributes, where the dashboard keeps everything."""
        return dict(self.study._storage.get_study_system_attrs(self.study._study_id))

    def kind(self) -> str | None:
        """Of which kind the study's note of ours is; an empty text where there is no note, None for a person's."""
        return _kind(_note(self.attributes(), None))

    def note(
        self, text: str, kind: str, trial: FrozenTrial | None = None, known: Mapping[str, Any] | None = None
    ) -> bool:
        """Write the note of the study, or of one of its trials; whether there was anything to write.

        A note that a person wrote, changed or emptied is left alone. A trial's notes are attributes of its study, so
        a finished trial can get one. `known` are attributes that were read a while ago: where they have the note
        already, none are read again.
        """
        number, body = trial._trial_id if trial else None, _signed(text, kind)
        if known is not None and _version(known, number, body) is None:
            return False
        version = _version(self.attributes(), number, body)
        if version is None:
            return False
        # The public save_note takes a running trial only; what it calls itself takes any.
        from optuna_dashboard._note import save_note_with_version

        save_note_with_version(self.study._storage, self.study._study_id, number, version, body)
        return True

    def plot(self, name: str, figure: go.Figure) -> bool:
        """Pin a figure under a name of ours, in the place of an earlier one; whether there was anything to write."""
        from optuna_dashboard import save_plotly_graph_object
        from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

        if get_plotly_graph_objects(self.attributes()).get(name) == figure.to_json():
            return False
        save_plotly_graph_object(self.study, figure, graph_object_id=name)
        return True

    def file(self, name: str, mimetype: str, content: str, trial: FrozenTrial | None = None) -> bool:
        """Pin a file to the study, or to one of its trials; whether there was anything to write.

        A finished trial takes no attribute of its own any more, so Optuna's upload_artifact fails on it; the dashboard
        also reads a trial's files from attributes of its study, and there they can be written at any time. The file's
        id follows from what it is of, so there is one; where a person has deleted it, it stays deleted.
        """
        if self.files is None:
            return False
        number = "" if trial is None else f"{trial.number} "
        identity = str(uuid.uuid5(uuid.NAMESPACE_OID, f"hpo {self.study.study_name} {number}{name}"))
        key = f"artifacts:{identity}" if trial is None else f"dashboard:artifacts:{trial._trial_id}:{identity}"
        known, data = self.attributes().get(key), content.encode()
        if known == "null" or (known is not None and self._holds(identity, data)):
            return False
        self.files.write(identity, io.BytesIO(data))
        about = {"artifact_id": identity, "filename": name, "mimetype": mimetype, "encoding": None}
        self.study._storage.set_study_system_attr(self.study._study_id, key, json.dumps(about))
        return True

    def _holds(self, identity: str, data: bytes) -> bool:
        assert self.files
        with contextlib.suppress(ArtifactNotFound), self.files.open_reader(identity) as there:
            return there.read() == data
        return False


def _note(attributes: Mapping[str, Any], trial: int | None) -> Any:
    """Version and body of a note; version 0 and an empty body where there is none."""
    from optuna_dashboard._note import get_note_from_system_attrs

    return get_note_from_system_attrs(dict(attributes), trial)


def _version(attributes: Mapping[str, Any], trial: int | None, body: str) -> int | None:
    """The version that a note of ours would have; None where it is there already, or a person's is."""
    found = _note(attributes, trial)
    return None if _kind(found) is None or found["body"] == body else found["version"] + 1


def _signed(text: str, kind: str) -> str:
    text = text.strip()
    return f"{text}\n\n[//]: # (hpo {kind} {_hash(text)})\n"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _kind(found: Any) -> str | None:
    if found["version"] == 0 and not found["body"]:
        return ""
    match = _SIGNED.fullmatch(found["body"])
    return match["kind"] if match and _hash(match["text"]) == match["hash"] else None
