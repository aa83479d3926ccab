"""Keeps what hpo pins to the studies of a store up to date while the dashboard runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hpo import __version__
from hpo.dashboard.board import StudyBoard
from hpo.dashboard.confusion_svg import draw_confusion_svg
from hpo.dashboard.flat_storage import load_unflattened_study
from hpo.errors import HpoError
from hpo.store.storage import companion_name
from hpo.store.trial_state import is_alive_here, outcome
from hpo.study.spec import StudySpec

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from optuna.artifacts import FileSystemArtifactStore

    from hpo.results.study_results import StudyResults

REFRESH_SECONDS = 15.0  # seconds between two looks
VERDICT_SECONDS = 60.0  # seconds that lie at least between two verdicts, more where one takes long
# The dashboard searches a study's attributes for every trial's note, so what it costs to open a study's page grows with
# trials times notes. Of studies with more trials than the first, only so many of the best and of the failed have notes.
ALL_NOTES_LIMIT, NOTES_PER_GROUP = 500, 100
STATE_ATTRIBUTE = "hpo:dashboard"  # the system attribute that tells for which trials and runs the verdict was written
PLOTS = {  # of FIGURES: what the dashboard does not draw by itself; short, as its buttons stand beside the title
    "intervals": "The winner's gain",
    "optimism": "Promised by the search, and kept",
    "history_by_time": "Best so far over device time",
    "calibration": "Calibration of the winner",
}
INK = "#7b8086"  # reads on the dashboard's light and dark pages alike
CLEAR = "rgba(0,0,0,0)"
log = logging.getLogger(__name__)


class DashboardPublisher(threading.Thread):
    """Writes notes, plots and files beside a running dashboard; nothing that goes wrong here reaches it."""

    def __init__(
        self, storage: BaseStorage, url: str, files: FileSystemArtifactStore | None, spec: StudySpec | None
    ) -> None:
        super().__init__(name="hpo-dashboard-notes", daemon=True)
        self.storage, self.url, self.files, self.spec = storage, url, files, spec
        self._stopping = threading.Event()
        self._done: set[tuple[int, object]] = set()  # ids of trials that have what they are to have, with their ends
        self._read: tuple[str, StudyResults] | None = None  # the study of `spec`, and when it was as it is there
        self._not_before = 0.0

    def run(self) -> None:
        while not self._stopping.is_set():
            self.refresh()
            self._stopping.wait(REFRESH_SECONDS)

    def stop(self) -> None:
        """Come to an end soon, with no note half written."""
        self._stopping.set()
        self.join(timeout=10)

    def refresh(self) -> None:
        """Bring everything up to date once; what cannot be done now is tried again the next time."""
        names = self._attempt(optuna.get_all_study_names, self.storage) or []
        for name in names:
            self._attempt(self._tell_of, name, names)
        if self.spec and self.spec.name in names:
            self._attempt(self._judge, self.spec, names)

    def _attempt(self, work: Callable[..., Any], *what: Any) -> Any:
        """What work gives, or None: a database may be busy, a study deleted meanwhile, an old trial lack something."""
        try:
            return None if self._stopping.is_set() else work(*what)
        except _Stopped:
            return None
        except Exception:
            log.warning("the dashboard's notes are not up to date", exc_info=True)
            return None

    def _tell_of(self, name: str, names: Sequence[str]) -> None:
        """What the store alone tells of one study and its trials."""
        from hpo.dashboard.notes import (  # much comes with it, for which the first page does not wait
            companion_note,
            study_note,
        )

        study = load_unflattened_study(self.storage, name)
        attributes, board = study.user_attrs, StudyBoard(study, self.files)
        if "spec" not in attributes:
            return  # hpo did not make it
        known = board.attributes()
        owner = attributes["spec"]["name"]
        for trial in _worthy(study):
            if (trial._trial_id, trial.datetime_complete) not in self._done:
                self._attempt(self._tell_of_trial, board, trial, attributes, known)
        if board.kind() in {"", "study"}:
            search = load_unflattened_study(self.storage, owner) if owner in names else None
            is_companion = name == companion_name(owner)
            board.note(companion_note(study, search) if is_companion else study_note(study), "study")

    def _tell_of_trial(
        self, board: StudyBoard, trial: FrozenTrial, attributes: Mapping[str, Any], known: Mapping[str, Any]
    ) -> None:
        """A trial's note, and of a final run the confusion matrix beside its predictions."""
        from hpo.dashboard.notes import run_note, trial_note

        spec, own = attributes["spec"], trial.user_attrs
        board.note(run_note(trial, spec) if "run" in own else trial_note(trial, spec), "trial", trial, known)
        if "test" in own:
            title = f"{own['system']}, seed {own['seed']}, on test"
            picture = draw_confusion_svg(own["test"]["confusion"], attributes["data"]["labels"], title)
            if picture:
                board.file("confusion.svg", "image/svg+xml", picture, trial)
        self._done.add((trial._trial_id, trial.datetime_complete))

    def _judge(self, spec: StudySpec, names: Sequence[str]) -> None:
        """The verdict with its plots and the model card, where trials or runs have changed since the last one.

        A comparison is a use of the test split, with an entry in the ledger, so there is none while something runs.
        """
        from hpo.results.study_results import read_results

        search, final = load_unflattened_study(self.storage, spec.name), companion_name(spec.name)
        if "spec" not in search.user_attrs:
            return
        companion = load_unflattened_study(self.storage, final) if final in names else None
        found = [search.get_trials(deepcopy=False), companion.get_trials(deepcopy=False) if companion else []]
        state, board = _state(spec, found), StudyBoard(search, self.files)
        if board.attributes().get(STATE_ATTRIBUTE) == state or time.monotonic() < self._not_before:
            return
        if companion and any(is_alive_here(t) for each in found for t in each if t.state == TrialState.RUNNING):
            return
        begun = time.monotonic()
        try:
            if self._read is None or self._read[0] != state:  # what could not be written is not judged again for that
                self._read = state, read_results(spec, self.url, self._tell, use="dashboard")
            self._pin(board, self._read[1])
            search._storage.set_study_system_attr(search._study_id, STATE_ATTRIBUTE, state)
            self._read = None
        finally:
            now = time.monotonic()
            self._not_before = now + max(VERDICT_SECONDS, 20 * (now - begun))

    def _pin(self, board: StudyBoard, record: StudyResults) -> None:
        """Note, plots and model card of a study that has been read."""
        from hpo.dashboard.notes import results_note
        from hpo.export.model_card import model_card
        from hpo.plots import FIGURES

        board.note(results_note(record), "verdict")
        for name, title in PLOTS.items():
            self._tell(0.0, name)
            figure = self._attempt(FIGURES[name], record)
            if figure is not None:
                board.plot(f"hpo-{name}", _fitted(figure, title))
        with contextlib.suppress(HpoError):  # there may be no model yet
            board.file("model-card.md", "text/markdown", model_card(record))

    def _tell(self, share: float, what: str) -> None:
        if self._stopping.is_set():
            raise _Stopped


def _fitted(figure: go.Figure, title: str) -> go.Figure:
    """A figure of the report under a title, as high as the dashboard's cards, its buttons beside the title."""
    heading = {"text": title, "x": 0.01, "xanchor": "left"}
    buttons = {"bgcolor": CLEAR, "color": INK, "activecolor": INK}
    return figure.update_layout(title=heading, height=440, font_color=INK, margin_t=56, modebar=buttons)


class _Stopped(Exception):
    """The dashboard ends while a comparison is being made."""


def _worthy(study: optuna.Study) -> list[FrozenTrial]:
    """The finished trials that are to have a note."""
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    if len(finished) <= ALL_NOTES_LIMIT:
        return finished
    sign = -1 if study.direction.name == "MAXIMIZE" else 1
    complete = [trial for trial in finished if trial.state == TrialState.COMPLETE]
    failed = [trial for trial in finished if trial.state == TrialState.FAIL]
    return sorted(complete, key=lambda trial: sign * (trial.value or 0.0))[:NOTES_PER_GROUP] + failed[-NOTES_PER_GROUP:]


def _state(spec: StudySpec, found: Sequence[Sequence[FrozenTrial]]) -> str:
    """A hash of all that a verdict hangs on: the study's final room, and which trials and runs have ended how."""
    ends: list[Any] = [
        [(trial.number, outcome(trial)) for trial in each if trial.state.is_finished()] for each in found
    ]
    said = json.dumps([__version__, spec.hash(), spec.final.model_dump(mode="json"), ends])
    return hashlib.sha256(said.encode()).hexdigest()[:16]
