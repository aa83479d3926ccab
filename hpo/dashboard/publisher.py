"""A thread that keeps notes, plots and files in the store up to date while the dashboard is served."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hpo import __version__
from hpo.dashboard.board import StudyBoard
from hpo.dashboard.confusion_svg import draw_confusion_svg
from hpo.dashboard.flat_storage import load_unflattened_study
from hpo.errors import HpoError
from hpo.store.dead_trials import is_worker_alive
from hpo.store.optuna_internals import storage_of, study_id, trial_id
from hpo.store.run_record import RunRecord
from hpo.store.study_record import StudyRecord, companion_name
from hpo.store.trial_order import best_first
from hpo.store.trial_record import TrialRecord
from hpo.store.trial_state import outcome
from hpo.study.spec import StudySpec

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from optuna.artifacts import FileSystemArtifactStore

    from hpo.results.study_results import StudyResults

REFRESH_SECONDS = 15.0
MIN_VERDICT_SECONDS = 60.0  # between two verdicts
VERDICT_PAUSE_FACTOR = 20  # pause after a verdict, in multiples of the time that it took
# The dashboard scans all attributes of a study for each trial's note, so opening a study's page costs trials times
# notes. In studies with more trials than the first number, only so many of the best and of the failed get notes.
ALL_NOTES_LIMIT, NOTES_PER_GROUP = 500, 100
STATE_ATTRIBUTE = "hpo:dashboard"  # system attribute of the study: hash of what its verdict was computed from
# Name in FIGURES -> id in the store and title, for figures that the dashboard does not draw itself. Titles are short,
# because buttons are next to them. An id stays as it is: with another one, older stores would show a plot twice.
PLOTS = {
    "intervals": ("hpo-intervals", "Gain over each baseline"),
    "generalization": ("hpo-optimism", "Generalization gap"),
    "history_by_time": ("hpo-history_by_time", "Best so far over device time"),
    "calibration": ("hpo-calibration", "Calibration of the winner"),
}
TEXT_COLOR = "#7b8086"  # readable on the dashboard's light and dark pages
TRANSPARENT_COLOR = "rgba(0,0,0,0)"
log = logging.getLogger(__name__)


class DashboardPublisher(threading.Thread):
    """Writes notes, plots and files while a dashboard runs; its errors are logged and never reach the dashboard."""

    def __init__(
        self, storage: BaseStorage, url: str, artifacts: FileSystemArtifactStore | None, spec: StudySpec | None
    ) -> None:
        super().__init__(name="hpo-dashboard-notes", daemon=True)
        self.storage, self.url, self.artifacts, self.spec = storage, url, artifacts, spec
        self._stopping = threading.Event()
        self._published: set[tuple[int, object]] = set()  # (trial id, end) of trials whose note and files are written
        self._unpublished: tuple[str, StudyResults] | None = None  # state and results that could not be written yet
        self._next_verdict = 0.0  # time.monotonic()

    def run(self) -> None:
        while not self._stopping.is_set():
            self.refresh()
            self._stopping.wait(REFRESH_SECONDS)

    def stop(self) -> None:
        """Stop the thread; it finishes a write that it has started."""
        self._stopping.set()
        self.join(timeout=10)

    def refresh(self) -> None:
        """Update everything once; what fails is tried again by the next refresh."""
        names = self._attempt(optuna.get_all_study_names, self.storage) or []
        for name in names:
            self._attempt(self._publish_notes, name, names)
        if self.spec and self.spec.name in names:
            self._attempt(self._publish_verdict, self.spec, names)

    def _attempt(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the function's result, or None after an error.

        The database may be locked, a study deleted meanwhile, or a trial of an earlier version lack something.
        """
        try:
            return None if self._stopping.is_set() else function(*arguments)
        except _Stopped:
            return None
        except Exception:
            log.warning("the dashboard's notes are not up to date", exc_info=True)
            return None

    def _publish_notes(self, name: str, names: Sequence[str]) -> None:
        """Write what is known from the store alone: the notes of a study and of its trials."""
        # Imported late: it takes seconds, and the dashboard's first page should not wait for it.
        from hpo.dashboard.notes import companion_note, study_note

        study = load_unflattened_study(self.storage, name)
        record, board = StudyRecord.from_attributes(study.user_attrs), StudyBoard(study, self.artifacts)
        if record.spec is None:
            return  # hpo did not create it
        search_name = record.spec["name"]
        if self.spec and self.spec.name == search_name:  # its file may say by now that no text is quoted
            record = replace(record, spec={**record.spec, "report": self.spec.report.model_dump()})
        attributes = board.attributes()
        is_companion = name == companion_name(search_name)
        publish_trial = self._publish_run if is_companion else self._publish_trial
        for trial in _select_for_notes(study):
            if (trial_id(trial), trial.datetime_complete) not in self._published:
                self._attempt(publish_trial, board, trial, record, attributes)
        if board.note_kind() in {"", "study"}:
            search = load_unflattened_study(self.storage, search_name) if search_name in names else None
            board.write_note(companion_note(study, search) if is_companion else study_note(study), "study")

    def _publish_trial(
        self, board: StudyBoard, trial: FrozenTrial, study: StudyRecord, attributes: Mapping[str, Any]
    ) -> None:
        """Write the note of a search's trial."""
        from hpo.dashboard.notes import trial_note

        board.write_note(trial_note(TrialRecord.from_trial(trial), study), "trial", trial, attributes)
        self._published.add((trial_id(trial), trial.datetime_complete))

    def _publish_run(
        self, board: StudyBoard, trial: FrozenTrial, study: StudyRecord, attributes: Mapping[str, Any]
    ) -> None:
        """Write the note of a final run, and attach its confusion matrix."""
        from hpo.dashboard.notes import run_note

        run = RunRecord.from_trial(trial)
        board.write_note(run_note(run, study), "trial", trial, attributes)
        if run.test and study.data:
            title = f"{run.system}, seed {run.seed}, on test"
            svg = draw_confusion_svg(run.test.confusion, study.data.labels, title)
            if svg:
                board.write_file("confusion.svg", "image/svg+xml", svg, trial)
        self._published.add((trial_id(trial), trial.datetime_complete))

    def _publish_verdict(self, spec: StudySpec, names: Sequence[str]) -> None:
        """Write the verdict with its plots and the model card, if trials or runs have changed since the last one.

        A comparison uses the test split, and each use is recorded in the ledger. So there is none while a trial or a
        run is in progress, which would make another comparison necessary.
        """
        from hpo.results.study_results import read_results

        search, companion_study = load_unflattened_study(self.storage, spec.name), companion_name(spec.name)
        if not StudyRecord.from_attributes(search.user_attrs).is_ours:
            return
        companion = load_unflattened_study(self.storage, companion_study) if companion_study in names else None
        trials = search.get_trials(deepcopy=False)
        runs = companion.get_trials(deepcopy=False) if companion else []
        state, board = _hash_state(spec, trials, runs), StudyBoard(search, self.artifacts)
        if board.attributes().get(STATE_ATTRIBUTE) == state or time.monotonic() < self._next_verdict:
            return
        running = [trial for trial in [*trials, *runs] if trial.state == TrialState.RUNNING]
        if companion and any(is_worker_alive(trial, spec.folder) for trial in running):
            return
        started = time.monotonic()
        try:
            # If only the writing failed, the next refresh writes the same results: no second use of the test split.
            if self._unpublished is None or self._unpublished[0] != state:
                results = read_results(spec, self.url, self._check_stop, use="dashboard")
                results.compare()
                self._unpublished = state, results
            self._publish_results(board, self._unpublished[1])
            storage_of(search).set_study_system_attr(study_id(search), STATE_ATTRIBUTE, state)
            self._unpublished = None
        finally:
            now = time.monotonic()
            self._next_verdict = now + max(MIN_VERDICT_SECONDS, VERDICT_PAUSE_FACTOR * (now - started))

    def _publish_results(self, board: StudyBoard, results: StudyResults) -> None:
        """Write note, plots and model card of a study."""
        from hpo.dashboard.notes import results_note
        from hpo.export.model_card import model_card
        from hpo.plots import FIGURES

        board.write_note(results_note(results), "verdict")
        for name, (plot_id, title) in PLOTS.items():
            self._check_stop(0.0, name)
            drawing = self._attempt(FIGURES[name], results)
            if drawing is not None:
                board.write_plot(plot_id, _fit_to_card(drawing.figure, title))
        with contextlib.suppress(HpoError):  # there may be no model yet
            board.write_file("model-card.md", "text/markdown", model_card(results))

    def _check_stop(self, share: float, step: str) -> None:
        """Progress callback of a comparison: abort it if the dashboard is closed."""
        if self._stopping.is_set():
            raise _Stopped


def _fit_to_card(figure: go.Figure, title: str) -> go.Figure:
    """Give a figure of the report a title, and the size and colors of the dashboard's cards."""
    heading = {"text": title, "x": 0.01, "xanchor": "left"}
    buttons = {"bgcolor": TRANSPARENT_COLOR, "color": TEXT_COLOR, "activecolor": TEXT_COLOR}
    return figure.update_layout(title=heading, height=440, font_color=TEXT_COLOR, margin_t=56, modebar=buttons)


class _Stopped(Exception):
    """The dashboard was closed during a comparison."""


def _select_for_notes(study: optuna.Study) -> list[FrozenTrial]:
    """Return the finished trials that get a note."""
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    if len(finished) <= ALL_NOTES_LIMIT:
        return finished
    complete = [trial for trial in finished if trial.state == TrialState.COMPLETE]
    failed = [trial for trial in finished if trial.state == TrialState.FAIL]
    return best_first(complete, study.direction.name)[:NOTES_PER_GROUP] + failed[-NOTES_PER_GROUP:]


def _hash_state(spec: StudySpec, trials: Sequence[FrozenTrial], runs: Sequence[FrozenTrial]) -> str:
    """Return a hash of everything a verdict depends on: the study file, and which trials and runs ended how."""
    outcomes: list[Any] = [
        [(trial.number, outcome(trial)) for trial in group if trial.state.is_finished()] for group in (trials, runs)
    ]
    # Appended only if it is not the default: a store that has a verdict needs no other one.
    no_texts = [] if spec.report.texts else ["no texts"]
    state = json.dumps([__version__, spec.hash(), spec.final.model_dump(mode="json"), outcomes, *no_texts])
    return hashlib.sha256(state.encode()).hexdigest()[:16]
