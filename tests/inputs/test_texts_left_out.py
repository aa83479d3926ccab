"""With `report.texts = false` no text of the data is in anything that hpo writes about a study."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.artifacts import FileSystemArtifactStore

from hpo.dashboard.flat_storage import FlatStorage
from hpo.dashboard.publisher import DashboardPublisher
from hpo.plots import FIGURES
from hpo.results.study_results import read_results
from hpo.search.trial_runner import run_trial
from hpo.store.storage import artifact_folder, open_storage, storage_url
from hpo.store.text_redaction import redact_reason, redact_sentence
from hpo.store.worker_lock import hold_worker_lock
from hpo.study.spec import load_study
from hpo.training.trackers import TrackedRun, track_run
from tests.support.canary_study import CANARY, study_file
from tests.support.command_line import Ended, run_hpo

__all__ = ["run_hpo", "study_file"]
NO_TEXTS = "report.texts=false"


def files_with_canary(folder: Path) -> list[str]:
    """The files below a folder that hold the word, and the members of zip files that do."""
    holders = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        members = {file.name: file.read_bytes()}
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                members |= {f"{file.name}/{name}": archive.read(name) for name in archive.namelist()}
        holders += [name for name, content in members.items() if CANARY in content.decode("utf8", "ignore").lower()]
    return holders


def test_report_and_exports_hold_no_text(study_file: Path, run_hpo: Callable[..., Ended], tmp_path: Path) -> None:
    written = tmp_path / "written"
    formats = ("bundle", "model-card", "trials-csv", "trials-parquet", "best-config-json")
    commands = [("report",), *(("export", "--format", name) for name in formats)]
    for verb, *options in commands:
        ended = run_hpo(verb, study_file, *options, "--output", written / "quoted" / "".join(options[1:]))
        assert ended.code == 0, ended.errors
        ended = run_hpo(verb, study_file, *options, "--no-texts", "--output", written / "none" / "".join(options[1:]))
        assert ended.code == 0, ended.errors
    bundled = [f"bundle/{name}" for name in ("data.json", "report.html", "report.md")]
    assert files_with_canary(written / "quoted") == [*bundled, "model-card", "report.html", "report.md"]
    assert files_with_canary(written / "none") == []
    report = (written / "none" / "report.md").read_text()
    assert "labelled positive" in report and "- row " in report, "the rows of misclassified texts are still named"
    assert "error: KeyError (the rest may quote a text" in report and "train: row 3 is odd (the rest" in report


def test_figures_hold_no_text(study_file: Path) -> None:
    spec = load_study(study_file, (NO_TEXTS,))
    results = read_results(spec, storage_url(spec))
    results.compare()
    drawings = [drawing for draw in FIGURES.values() if (drawing := draw(results)) is not None]
    assert len(drawings) > 8
    assert not [drawing.alt for drawing in drawings if CANARY in drawing.figure.to_json() + drawing.alt]


@pytest.mark.parametrize("quotes", [True, False])
def test_dashboard_shows_no_text(quotes: bool, study_file: Path) -> None:
    spec = load_study(study_file, () if quotes else (NO_TEXTS,))
    url = storage_url(spec)
    storage = FlatStorage(open_storage(url), quotes)  # type: ignore[arg-type]
    artifacts = artifact_folder(url, study_file.parent)
    DashboardPublisher(storage, url, FileSystemArtifactStore(artifacts), spec).refresh()
    pages = []
    for study in storage.get_all_studies():
        pages.append(storage.get_study_system_attrs(study._study_id))
        pages += [trial.user_attrs for trial in storage.get_all_trials(study._study_id)]
    assert "hpo-intervals" in json.dumps(pages, default=str), "the verdict was not written"
    assert (CANARY in json.dumps(pages, default=str)) is quotes
    assert bool(files_with_canary(artifacts)) is quotes


@pytest.mark.parametrize("quotes", [True, False])
def test_experiment_trackers_get_no_text(quotes: bool, study_file: Path) -> None:
    pytest.importorskip("tensorboard")
    spec = load_study(study_file, ("training.report_to=tensorboard", *(() if quotes else (NO_TEXTS,))))
    with (
        pytest.raises(ValueError, match=CANARY),
        track_run(TrackedRun(spec, "trial-7", {}), pytest.fail, lambda error: f"error: ValueError: {error}"),
    ):
        fail()
    assert len(list((spec.folder / "runs" / "trial-7").glob("events.*"))) == 1
    assert bool(files_with_canary(spec.folder / "runs")) is quotes


def test_message_of_an_exception_is_not_stored(tmp_path: Path) -> None:
    """Trials that fail later are stored without what an exception of a plug-in or library quotes."""
    import optuna

    for quotes in (True, False):
        study = optuna.create_study()
        trial = study.ask()
        with pytest.raises(RuntimeError), hold_worker_lock(tmp_path) as lock:
            describe = lambda error: f"error: {type(error).__name__}: {error}"  # noqa: E731
            run_trial(trial, fail, describe, RuntimeError, lock.identity, quotes)
        stored = json.dumps(study.get_trials()[0].user_attrs)
        assert (CANARY in stored) is quotes and "ValueError" in stored and "in fail" in stored


def fail() -> float:
    raise ValueError(f"cannot read a {'zyx' + 'canary'}")


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("train: 3 of 9 texts are repeats of another", "train: 3 of 9 texts are repeats of another"),
        ("train: no row of class 'good', so its scores do not cover it", None),
        ("train: the study's rows don't differ", "train: the study's rows don't differ"),
        ("no trial; `hpo run 'my study.toml'` continues", None),
        ("train: row 3 begins with 'zyxcanary', as does row 4", "train: row 3 begins with"),
        ('train: "zyxcanary" occurs twice', "train"),
        ("train: no row of class 'good', but 'it's a zyxcanary'", "train: no row of class 'good', but"),
        ("train: row 3: \u201czyxcanary\u201d", "train: row 3"),
    ],
)
def test_sentences_are_cut_before_a_quotation(sentence: str, kept: str | None) -> None:
    redacted = redact_sentence(sentence, {"good"})
    assert redacted.startswith(kept or sentence) and CANARY not in redacted
    assert (redacted == sentence) is (CANARY not in sentence)


@pytest.mark.parametrize(
    ("reason", "redacted"),
    [
        ("diverged: the loss is nan at step 3", "diverged: the loss is nan at step 3"),
        ("error: KeyError: zyxcanary", "error: KeyError (the rest"),
        ("error: zyxcanary is odd", "error (the rest"),
    ],
)
def test_reasons_keep_their_outcome(reason: str, redacted: str) -> None:
    assert redact_reason(reason).startswith(redacted) and CANARY not in redact_reason(reason)
