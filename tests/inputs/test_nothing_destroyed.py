"""No command removes or replaces what it has not written; its own output it replaces as often as one likes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo.errors import StudyError
from hpo.evaluation.retraining import _remove_weights, check_model_folders
from hpo.export.formats import FORMATS
from hpo.ownership import FILE_LIST, owned_folder
from hpo.report.render import REPORT_FILES
from hpo.search.preflight import check_spec
from hpo.study.spec import load_study
from hpo.training.model_folder import INFO_FILE
from hpo.training.trackers import TensorBoard, TrackedRun
from tests.support import synthetic
from tests.support.canary_study import study_file
from tests.support.command_line import Ended, run_hpo

__all__ = ["run_hpo", "study_file"]
FILE_FORMATS = [name for name, export in FORMATS.items() if not export.is_folder]
Run = Callable[..., Ended]
THESIS = "years of work"


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for stores, which record each use of the test split."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("store.")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def put_thesis(file: Path) -> None:
    """Write a file of the user."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(THESIS)


def assert_refused(ended: Ended, path: Path, remedy: str = "choose another --output, or add --overwrite") -> None:
    assert ended.code == 2 and not ended.output
    assert ended.errors.splitlines()[-1].startswith(f"hpo: {path}: "), ended.errors
    assert ended.errors.splitlines()[-1].endswith(remedy), ended.errors


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_export_replaces_a_file_of_its_own_and_no_other(
    name: str, study_file: Path, run_hpo: Run, tmp_path: Path
) -> None:
    target = tmp_path / "mine.txt"
    put_thesis(target)
    export = ("export", study_file, "--format", name, "--output", target)
    before = snapshot(tmp_path)
    assert_refused(run_hpo(*export), target)
    assert snapshot(tmp_path) == before
    for options in (("--overwrite",), (), ()):
        assert run_hpo(*export, *options).code == 0
    with target.open("ab") as file:
        file.write(b"# a note of the user")
    before = snapshot(tmp_path)
    assert_refused(run_hpo(*export), target)
    assert snapshot(tmp_path) == before


def test_export_keeps_the_users_folders_with_similar_names(study_file: Path, run_hpo: Run, tmp_path: Path) -> None:
    target = tmp_path / "X"
    export = ("export", study_file, "--format", "model", "--output", target)
    assert run_hpo(*export).code == 0
    similar = ["X.old", "X.new", "X.new-1", "X.new-999999999", ".X.lock", "X.damaged", "X.tmp"]
    for name in similar:
        put_thesis(tmp_path / name / "thesis.tex")
    put_thesis(target / "notes" / "thesis.tex")
    for _ in range(2):
        assert run_hpo(*export).code == 0
    kept = [*(tmp_path / name / "thesis.tex" for name in similar), target / "notes" / "thesis.tex"]
    assert all(file.read_text() == THESIS for file in kept)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".hpo")]


def test_export_refuses_a_folder_of_the_user(study_file: Path, run_hpo: Run, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    put_thesis(target / "thesis.tex")
    put_thesis(target / "README.md")
    export = ("export", study_file, "--format", "model", "--output", target)
    before = snapshot(tmp_path)
    assert_refused(run_hpo(*export), target)
    assert snapshot(tmp_path) == before
    assert run_hpo(*export, "--overwrite").code == 0
    assert (target / "thesis.tex").read_text() == THESIS, "--overwrite replaces files of the same name, and no other"
    assert (target / "README.md").read_text().startswith("---") and (target / INFO_FILE).exists()


def test_export_refuses_a_model_card_that_was_edited(study_file: Path, run_hpo: Run, tmp_path: Path) -> None:
    target = tmp_path / "model"
    export = ("export", study_file, "--format", "model", "--output", target)
    assert run_hpo(*export).code == 0
    (target / "README.md").write_text(THESIS)
    assert_refused(run_hpo(*export), target / "README.md")
    assert (target / "README.md").read_text() == THESIS
    assert run_hpo(*export, "--overwrite").code == 0 and (target / "README.md").read_text() != THESIS


@pytest.mark.parametrize("in_study_folder", [True, False])
def test_report_replaces_files_of_its_own_and_no_other(
    in_study_folder: bool, study_file: Path, run_hpo: Run, tmp_path: Path
) -> None:
    folder = load_study(study_file).folder if in_study_folder else tmp_path / "thesis"
    report = ("report", study_file, *(() if in_study_folder else ("--output", folder)))

    def assert_that_each_file_is_refused() -> None:
        for name in REPORT_FILES:
            written = (folder / name).read_bytes() if (folder / name).exists() else None
            put_thesis(folder / name)
            before = snapshot(tmp_path)
            assert_refused(run_hpo(*report), folder / name)
            assert snapshot(tmp_path) == before, "a refused report writes none of its files"
            (folder / name).unlink() if written is None else (folder / name).write_bytes(written)

    assert_that_each_file_is_refused()
    for _ in range(2):
        assert run_hpo(*report).code == 0
    assert_that_each_file_is_refused()
    put_thesis(folder / "report.md")
    assert run_hpo(*report, "--overwrite").code == 0 and THESIS not in (folder / "report.md").read_text()


def test_report_of_an_earlier_version_is_replaced(study_file: Path, run_hpo: Run) -> None:
    """Version 0.1.0 kept no list of its files; in a study's folder they are recognized by what they say."""
    folder = load_study(study_file).folder
    folder.mkdir(exist_ok=True)
    (folder / "report.md").write_text("# small: accuracy\n\nCreated by hpo 0.1.0 on 2026-11-26 10:00 UTC.\n")
    (folder / "best_config.toml").write_text('# The best configuration of study "small": trial #1, 2026-11-26.\n')
    assert run_hpo("report", study_file).code == 0


def test_moved_project_still_recognizes_its_files(study_file: Path, run_hpo: Run, tmp_path: Path) -> None:
    assert run_hpo("report", study_file).code == 0
    assert run_hpo("export", study_file, "--format", "trials-csv", "--output", study_file.parent / "t.csv").code == 0
    study_file.parent.rename(tmp_path / "moved")
    moved = tmp_path / "moved" / study_file.name
    assert run_hpo("report", moved).code == 0
    assert run_hpo("export", moved, "--format", "trials-csv", "--output", moved.parent / "t.csv").code == 0


def test_report_removes_no_configuration_of_the_user(study_file: Path, tmp_path: Path) -> None:
    """Without a best trial there is none to write, and one of the user stays."""
    from hpo.report import write_report
    from hpo.results.study_results import read_results
    from hpo.store.storage import storage_url

    spec = synthetic.make(tmp_path / "pruned", 3, pruned=True)
    put_thesis(tmp_path / "out" / "best_config.toml")
    write_report(read_results(spec, storage_url(spec)), tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "best_config.toml").read_text() == THESIS


def test_init_never_overwrites(run_hpo: Run, tmp_path: Path) -> None:
    put_thesis(tmp_path / "a" / "studies" / "first.toml")
    (tmp_path / "b" / "search_spaces").mkdir(parents=True)
    (tmp_path / "b" / "search_spaces" / "finetune.toml").symlink_to(tmp_path / "nowhere")
    for folder in (tmp_path / "a", tmp_path / "b"):
        before = snapshot(tmp_path)
        ended = run_hpo("init", folder)
        assert ended.code == 2 and "exists already; choose another folder" in ended.errors
        assert snapshot(tmp_path) == before
    assert run_hpo("init", tmp_path / "c").code == 0
    assert sorted(snapshot(tmp_path / "c")) == ["search_spaces/finetune.toml", "studies/first.toml"]


def test_reproduction_that_is_refused_removes_only_what_it_wrote(
    study_file: Path, run_hpo: Run, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.zip"
    assert run_hpo("export", study_file, "--format", "bundle", "--output", bundle).code == 0
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "new" / "deep"):
        ended = run_hpo("reproduce", bundle, "--output", folder, "--set", "data.train=missing.csv")
        assert ended.code == 2, ended.errors
    assert sorted(os.listdir(tmp_path)) == ["bundle.zip", "empty", study_file.parent.name]
    assert not os.listdir(tmp_path / "empty")


# --- folders of a study -----------------------------------------------------------------------------------------------


def test_folders_of_models_that_hpo_has_not_written_are_refused_before_training(study_file: Path) -> None:
    spec = load_study(study_file)
    shutil.rmtree(spec.folder)
    put_thesis(spec.best_folder / "thesis.tex")
    with pytest.raises(StudyError, match="best: exists and was not written by hpo; move it elsewhere"):
        check_spec(spec)
    put_thesis(spec.model_folder / "thesis.tex")
    with pytest.raises(StudyError, match="model: exists and was not written by hpo; move it elsewhere"):
        check_model_folders(spec)
    spec.model_folder.rename(spec.folder / "retrained")
    put_thesis(spec.folder / "retrained" / "trial-3")
    with pytest.raises(StudyError, match="trial-3: is not a folder; move it elsewhere"):
        check_model_folders(spec)


def test_retraining_refuses_a_changed_model_folder(study_file: Path, run_hpo: Run) -> None:
    spec = load_study(study_file)
    info = (spec.model_folder / INFO_FILE).read_text()
    with owned_folder(spec.model_folder) as folder:
        (folder / INFO_FILE).write_text(info)
    (spec.model_folder / INFO_FILE).write_text(f"{info}\n")
    for verb in ("retrain", "run"):
        assert_refused(run_hpo(verb, study_file), spec.model_folder / INFO_FILE, "move it elsewhere")
    assert (spec.model_folder / INFO_FILE).read_text() == f"{info}\n"


def test_files_of_the_user_in_a_folder_of_ours_are_kept(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with owned_folder(tmp_path / "model") as folder:
            (folder / "weights").write_text(text)
            (folder / text).touch()
        put_thesis(tmp_path / "model" / "onnx" / "thesis.tex")
        (tmp_path / "model" / ".DS_Store").touch()
        (tmp_path / "model" / "link").unlink(missing_ok=True)
        (tmp_path / "model" / "link").symlink_to("nowhere")
    assert sorted(snapshot(tmp_path / "model")) == [".DS_Store", FILE_LIST, "onnx/thesis.tex", "second", "weights"]
    assert (tmp_path / "model" / "onnx" / "thesis.tex").read_text() == THESIS
    assert (tmp_path / "model" / "link").is_symlink()
    assert set(json.loads((tmp_path / "model" / FILE_LIST).read_text())["files"]) == {"second", "weights"}
    assert sorted(os.listdir(tmp_path)) == ["model"]


def test_weights_of_retraining_are_removed_and_nothing_else(study_file: Path) -> None:
    spec = load_study(study_file)
    for number in (1, 2):
        with owned_folder(spec.folder / "retrained" / f"trial-{number}") as folder:
            (folder / INFO_FILE).touch()
    put_thesis(spec.folder / "retrained" / "trial-2" / "thesis.tex")
    put_thesis(spec.folder / "retrained" / "trial-9" / "thesis.tex")
    _remove_weights(spec)
    assert sorted(snapshot(spec.folder / "retrained")) == ["trial-2/thesis.tex", "trial-9/thesis.tex"]


def test_tensorboard_runs_of_other_studies_are_kept(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two projects may log studies of the same name to one folder."""
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    spec = load_study(study_file)
    folder = tmp_path / "logs" / spec.name
    put_thesis(folder / "trial-0" / "events.out.tfevents.1")
    for name in ("trial-0", "trial-1", "trial-1"):
        TensorBoard(TrackedRun(spec, name, {})).end("complete")
    assert (folder / "trial-0" / "events.out.tfevents.1").read_text() == THESIS
    assert len(list((folder / "trial-1").glob("events.*"))) == 1, "events of the same study's earlier attempt are left"


def overwrite_trials(run: Callable[..., Ended], file: Path, output: Path) -> Ended:
    return run("export", file, "--format", "trials-csv", "--output", output, "--overwrite")


@pytest.mark.parametrize(
    "needed",
    ["store.db", "store.db-wal", "synthetic.toml", "test.csv", "store.artifacts/x.csv", "synthetic/model/config.json"],
)
def test_what_the_study_needs_is_never_replaced(tmp_path: Path, run_hpo: Callable[..., Ended], needed: str) -> None:
    spec = synthetic.make(tmp_path, 4, seeds=1, baselines="majority", classes=3)
    before = (spec.file.read_text(), (tmp_path / "test.csv").read_text())
    done = overwrite_trials(run_hpo, spec.file, tmp_path / needed)
    assert done.code == 2 and "which is not replaced; choose another --output" in done.errors
    assert before == (spec.file.read_text(), (tmp_path / "test.csv").read_text()), "a file was replaced"
    assert (tmp_path / "store.db").read_bytes()[:6] == b"SQLite"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_only_files_are_replaced(tmp_path: Path, run_hpo: Callable[..., Ended], make: Callable[[Path], None]) -> None:
    spec = synthetic.make(tmp_path, 4, seeds=1, baselines="majority")
    make(tmp_path / "report.html")
    done = run_hpo("report", spec.file, "--output", tmp_path, "--overwrite")
    assert done.code == 2 and done.errors.count("\n") == 1 and "report.html: is " in done.errors


def test_a_link_is_not_written_through(tmp_path: Path, run_hpo: Callable[..., Ended]) -> None:
    spec = synthetic.make(tmp_path, 4, seeds=1, baselines="majority")
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "trials.csv").symlink_to(tmp_path / "mine.txt")
    done = overwrite_trials(run_hpo, spec.file, tmp_path / "trials.csv")
    assert done.code == 2 and "is a link to" in done.errors and (tmp_path / "mine.txt").read_text() == "mine"
