"""The dashboard as users meet it: started from the shell, and viewed in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import TrialState
from optuna_dashboard import wsgi
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from hpo.cli import main
from hpo.dashboard import Dashboard, publisher, serve_dashboard
from hpo.dashboard.board import StudyBoard
from hpo.dashboard.confusion_svg import draw_confusion_svg
from hpo.dashboard.dashboard_internals import Note, read_note
from hpo.dashboard.flat_storage import FlatStorage, load_unflattened_study
from hpo.dashboard.notes import UNFINISHED, trial_note
from hpo.dashboard.publisher import STATE_ATTRIBUTE, DashboardPublisher
from hpo.dashboard.snapshot import copy_store, served_artifact_folder
from hpo.errors import StoreError, StudyError
from hpo.store import database, outages, storage
from hpo.store.study_record import StudyRecord
from hpo.store.trial_record import TrialRecord
from hpo.study.spec import StudySpec, load_study
from tests.support.browser import browser, console_errors, wait_for  # noqa: F401
from tests.support.evaluated_study import evaluate_once, study_file  # noqa: F401
from tests.support.postgresql import postgresql  # noqa: F401

HPO = [sys.executable, "-m", "hpo"]
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def run_dashboard(
    folder: Path, *arguments: str, stop: bool = True, preexec_fn: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that `hpo dashboard` prints, and its process; with `stop` it is ended as by Ctrl-C."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # shells let background jobs ignore Ctrl-C
        preexec_fn()

    command = [*HPO, "dashboard", *arguments, "--no-browser"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, preexec_fn=prepare) as run:
        try:
            assert run.stdout
            line = run.stdout.readline()
            assert "http" in line, run.communicate()
            yield line.split()[-1], run
        finally:
            if stop:
                run.send_signal(signal.SIGINT)
                errors = run.communicate(timeout=30)[1]
                assert run.returncode == 0 and "Traceback" not in errors, errors
            elif run.poll() is None:
                run.kill()


def request(url: str, method: str = "GET", body: Any = None) -> tuple[int, bytes]:
    """Status and content of the server's response."""
    data = None if body is None else json.dumps(body).encode()
    message = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(message, timeout=30) as response:
            return int(response.status), bytes(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code), bytes(error.read())


def read_rows(file: Path) -> dict[str, list[Any]]:
    """Every row of a database."""
    with closing(sqlite3.connect(file)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(map(repr, database.execute(f"SELECT * FROM {name}"))) for name in tables}


def read_artifacts(folder: Path) -> dict[str, bytes]:
    """Every file of the store's artifact folder."""
    return {file.name: file.read_bytes() for file in (folder / "store.artifacts").iterdir()}


def read_store(folder: Path) -> tuple[dict[str, list[Any]], dict[str, bytes]]:
    """Every row and every file of a store."""
    return read_rows(folder / "store.db"), read_artifacts(folder)


def make_publisher(file: Path, spec: StudySpec | None = None) -> DashboardPublisher:
    """A publisher for the store in the folder of a study file."""
    url = storage.default_storage_url(file.parent)
    folder = served_artifact_folder(url, None)
    assert folder
    return DashboardPublisher(FlatStorage(storage.open_storage(url)), url, FileSystemArtifactStore(folder), spec)  # type: ignore[arg-type]


def load_note(file: Path, study_name: str = "small", trial: int | None = None) -> Note:
    """The note of a study, or of a trial by its number."""
    url = storage.default_storage_url(file.parent)
    study = optuna.load_study(study_name=study_name, storage=storage.open_storage(url))
    attributes = study._storage.get_study_system_attrs(study._study_id)
    return read_note(attributes, None if trial is None else study.get_trials(deepcopy=False)[trial]._trial_id)


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def has_verdict(file: Path) -> bool:
    """Whether the verdict with its plots has been written."""
    with closing(sqlite3.connect(file.parent / "store.db")) as database:
        query = "SELECT value_json FROM study_system_attributes WHERE key = ? AND value_json <> ?"
        return database.execute(query, (STATE_ATTRIBUTE, '"another"')).fetchone() is not None


# Pages


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a study on a running dashboard, once its notes and plots are written, and its file."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(evaluate_once(tmp_path_factory), folder, dirs_exist_ok=True)
    with run_dashboard(folder, "small.toml", "--port", "0") as (url, _):
        wait_until(partial(has_verdict, folder / "small.toml"))
        yield url, folder / "small.toml"


def test_study_pages_show_names_objective_and_plots(page: tuple[str, Path], browser: Chrome) -> None:  # noqa: F811
    url, _ = page
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/dashboard/studies/1", url)
    browser.get(url.rpartition("/studies")[0])
    wait_for(browser, "small", "small/final")
    browser.get(url)
    seen = wait_for(browser, "Gain over each baseline", "Generalization gap", "Best so far over device time")
    assert "accuracy" in seen and "Calibration of the winner" in seen and "model-card.md" in seen
    assert "builtin:tiny" in seen and "{" not in seen.partition("Study User Attributes")[2].partition("Rows per")[0]
    assert not console_errors(browser)


def test_note_shows_the_verdict_of_the_comparison(page: tuple[str, Path], browser: Chrome) -> None:  # noqa: F811
    url, file = page
    browser.get(f"{url}/note")
    seen = wait_for(browser, "The verdict", "Did the search pay?", "Winner against baselines")
    from hpo.results.study_results import read_results

    comparison = read_results(load_study(file), storage.default_storage_url(file.parent), use="test").compare()
    assert comparison and comparison.verdict in seen
    assert all(row.against in seen for row in comparison.differences)
    assert f"{comparison.winner_system.test['accuracy'].mean:.4f}" in seen
    assert "[//]" not in seen and "<" not in seen and "**" not in seen
    browser.find_element(By.LINK_TEXT, "search and final runs side by side").click()
    wait_for(browser, "accuracy of small/final", "Best Value of small")
    assert "ids=1,2" in browser.current_url and not console_errors(browser)


def test_trial_page_shows_note_and_flat_attributes(page: tuple[str, Path], browser: Chrome) -> None:  # noqa: F811
    url, _ = page
    browser.get(f"{url}/trials?numbers=0")
    seen = wait_for(browser, "Complete: accuracy", "known-good start: paper", "effective in the run", "optimizer steps")
    assert "effective_learning_rate 0.001" in seen and "seconds_train" in seen and '{"' not in seen
    assert not console_errors(browser)


def test_final_run_page_shows_its_files(page: tuple[str, Path], browser: Chrome) -> None:  # noqa: F811
    url, _ = page
    browser.get(f"{url.removesuffix('1')}2/trials?numbers=0")
    seen = wait_for(browser, "A final run: trial #", "confusion.svg", "predictions.csv")
    assert "test_accuracy" in seen
    picture = browser.find_element(By.CSS_SELECTOR, "img[alt='confusion.svg'], img[src*='/artifacts/']")
    wait_until(lambda: browser.execute_script("return arguments[0].naturalWidth", picture) > 100)
    link = browser.find_element(By.CSS_SELECTOR, "a[download='predictions.csv']").get_attribute("href")
    status, content = request(str(link))
    assert status == 200 and content.startswith(b"row,label,predicted,probability_0,probability_1\n")
    assert not console_errors(browser)


# Start and stop


def test_dashboard_uses_another_port_if_one_is_taken_and_frees_it_when_it_stops(study_file: Path) -> None:  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with run_dashboard(study_file.parent, "--port", str(port), stop=False) as (url, run):
            free_port = int(url.split(":")[2].partition("/")[0])
            assert url.endswith("/dashboard") and free_port != port and request(url)[0] == 200
            wait_until(lambda: load_note(study_file, trial=0).body)
            started = time.monotonic()
            run.send_signal(signal.SIGTERM)
            output, errors = run.communicate(timeout=30)
            assert run.returncode == 0 and time.monotonic() - started < 15  # 1 or 2 on an idle machine
    about_port, about_ctrl_c = errors.splitlines()
    assert re.fullmatch(f"note: port {port} is .* port {free_port}", about_port) and "Ctrl-C" in about_ctrl_c
    assert not output
    socket.create_server(("127.0.0.1", free_port)).close()


def test_browser_opens_if_there_is_a_display(
    study_file: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, viewer = tmp_path / "opened", tmp_path / "viewer"
    viewer.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    viewer.chmod(0o755)
    command = " ".join(["env", "DISPLAY=:7", f"BROWSER={viewer}", *HPO, "dashboard", "--port", "0"])
    with subprocess.Popen(["script", "-qec", command, "/dev/null"], cwd=study_file.parent, stdout=-1, text=True) as run:
        assert run.stdout
        line = next(line for line in run.stdout if "http" in line)
        wait_until(lambda: opened.exists() and opened.read_text())
        run.terminate()
    assert opened.read_text().strip() == line.split()[-1]
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not Dashboard("http://127.0.0.1:1", 1, False).show()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["small.toml"], "no store at"),
        ([], "no store at"),
        (["--read-only"], "no store at"),
        (["--read-only", "--storage", "nonsense"], "storage 'nonsense' is not a URL"),
        (["--host", "0.0.0.0"], "--host 0.0.0.0: everybody who can reach this address could change and delete studies"),
        (["--host", "example.org"], "add --read-only to serve a copy"),
        (["none.toml"], "none.toml: no such file"),
    ],
)
def test_input_error_is_one_line_and_writes_nothing(
    arguments: list[str], message: str, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small.parent)
    monkeypatch.setattr(sys, "argv", ["hpo", "dashboard", *arguments, "--no-browser"])
    before, handler = sorted(small.parent.rglob("*")), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as exit_info:
        main()
    signal.signal(signal.SIGTERM, handler)
    output, errors = capsys.readouterr()
    assert exit_info.value.code == 2 and errors.startswith("hpo: ")
    assert message in errors and errors.count("\n") == 1
    assert not output and sorted(small.parent.rglob("*")) == before


# Read-only copies


def test_read_only_serves_a_copy_and_does_not_change_the_store(
    study_file: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = read_store(study_file.parent)
    content = (study_file.parent / "store.db").read_bytes()  # after read_store(), which checkpoints the write-ahead log
    with run_dashboard(study_file.parent, "small.toml", "--read-only", "--host", "0.0.0.0", "--port", "0") as (url, _):
        assert socket.gethostname() in url
        address = f"http://127.0.0.1:{url.split(':')[2].partition('/')[0]}"
        (copy,) = temporary.glob(".hpo-*/new")
        wait_until(partial(has_verdict, copy / "store.db"))
        study = json.loads(request(f"{address}/api/studies/1")[1])
        assert "Did the search pay?" in study["note"]["body"]
        run = json.loads(request(f"{address}/api/studies/2")[1])["trials"][0]
        for file in run["artifacts"]:
            assert request(f"{address}/artifacts/2/{run['trial_id']}/{file['artifact_id']}")[0] == 200
            path = f"{address}/api/artifacts/2/{run['trial_id']}/{file['artifact_id']}"
            assert request(path, "DELETE")[0] == 403
        assert request(f"{address}/api/studies/2", "DELETE", {})[0] == 403
        assert request(f"{address}/api/studies/1/note", "PUT", {"body": "mine", "version": 9})[0] == 403
        assert len(json.loads(request(f"{address}/api/studies")[1])["study_summaries"]) == 2
    assert not any(temporary.iterdir())
    assert (study_file.parent / "store.db").read_bytes() == content
    assert before == read_store(study_file.parent)


def test_deleting_in_a_copy_does_not_change_the_store(study_file: Path, tmp_path: Path) -> None:  # noqa: F811
    before = read_store(study_file.parent)
    (tmp_path / "copy").mkdir()
    url = copy_store(storage.default_storage_url(study_file.parent), None, tmp_path / "copy")
    assert read_store(tmp_path / "copy") == before
    for file in (tmp_path / "copy" / "store.artifacts").iterdir():
        file.write_bytes(b"")
    optuna.delete_study(study_name="small/final", storage=storage.open_storage(url))
    assert before == read_store(study_file.parent)


def test_copy_of_a_database_server_has_the_same_ids(postgresql: str, study_file: Path, tmp_path: Path) -> None:  # noqa: F811
    server = storage.open_storage(postgresql)
    local = storage.open_storage(storage.default_storage_url(study_file.parent))
    for name in ("small/final", "small"):  # reversed, so that ids are not what new ones would be
        optuna.copy_study(from_study_name=name, from_storage=local, to_storage=server)
    study = optuna.load_study(study_name="small", storage=server)
    StudyBoard(study, None).write_note("identified by its id", "trial", study.get_trials(deepcopy=False)[1])
    (tmp_path / "copy").mkdir()
    copy_store(postgresql, load_study(study_file), tmp_path / "copy")
    assert load_note(tmp_path / "copy" / "store.db", trial=1).body.startswith("identified by its id")
    copied = optuna.load_study(study_name="small/final", storage=f"sqlite:///{tmp_path}/copy/store.db")
    original = optuna.load_study(study_name="small/final", storage=server)
    assert copied.get_trials() == original.get_trials() and copied.user_attrs == original.user_attrs
    assert read_artifacts(tmp_path / "copy") == read_artifacts(study_file.parent)
    server.engine.dispose()  # type: ignore[attr-defined]


# Notes, plots and files


def test_second_start_writes_nothing(study_file: Path) -> None:  # noqa: F811
    make_publisher(study_file, load_study(study_file)).refresh()
    assert has_verdict(study_file)
    before = read_store(study_file.parent)
    make_publisher(study_file, load_study(study_file)).refresh()
    make_publisher(study_file).refresh()
    assert before == read_store(study_file.parent)
    uses = [row for row in before[0]["study_user_attributes"] if "dashboard: " in row]
    assert len(uses) == 1, "one comparison is one use of the test split"


def test_notes_and_deletions_of_a_person_are_kept(study_file: Path) -> None:  # noqa: F811
    first = make_publisher(study_file, load_study(study_file))
    board = StudyBoard(load_unflattened_study(first.storage, "small"), None)
    trials = board.study.get_trials(deepcopy=False)
    send = partial(send_to_app, wsgi(first.storage, artifact_store=first.artifacts))
    send("/api/studies/1/1/note", {"body": "mine, before", "version": 1})
    first.refresh()
    (card,) = [key for key in board.attributes() if key.startswith("artifacts:")]
    send(f"/api/artifacts/1/{card.removeprefix('artifacts:')}", {}, "DELETE")
    board.study._storage.set_study_system_attr(1, STATE_ATTRIBUTE, "another")  # so that everything is written again
    published = load_note(study_file).body
    send("/api/studies/1/note", {"body": published + "and mine", "version": 3})
    send(f"/api/studies/1/{trials[1]._trial_id}/note", {"body": "", "version": 2})
    make_publisher(study_file, load_study(study_file)).refresh()
    assert has_verdict(study_file) and board.attributes()[card] == "null", "a deleted file stays deleted"
    assert load_note(study_file, trial=0) == Note(1, "mine, before")
    assert load_note(study_file).body == published + "and mine" and load_note(study_file, trial=1).body == ""
    assert not board.write_note("another", "verdict") and not board.write_note("another", "trial", trials[1])
    assert board.write_note("another", "trial", trials[2]), "our own note is replaced"
    assert not board.write_note("another", "trial", trials[2]) and load_note(study_file, trial=2).version == 2


def send_to_app(app: Any, path: str, body: Any, method: str = "PUT") -> None:
    """Send what the dashboard's page sends, for example if a person saves a note."""
    import io

    data = json.dumps(body).encode()
    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(data)),
        "wsgi.input": io.BytesIO(data),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
        "SERVER_NAME": "here",
        "SERVER_PORT": "80",
    }
    b"".join(app(environ, lambda status, *_: statuses.append(status)))
    assert statuses[0].startswith("2"), statuses


def test_renamed_study_keeps_its_stored_attributes(study_file: Path) -> None:  # noqa: F811
    flat = FlatStorage(storage.open_storage(storage.default_storage_url(study_file.parent)))  # type: ignore[arg-type]
    before = [trial.user_attrs for trial in load_unflattened_study(flat, "small").get_trials()]
    assert all("seconds" in attributes and "seconds_wall" not in attributes for attributes in before)
    assert all("seconds_wall" in trial.user_attrs for trial in flat.get_all_trials(1))
    send_to_app(wsgi(flat), "/api/studies/1/rename", {"study_name": "other"}, "POST")
    assert [trial.user_attrs for trial in load_unflattened_study(flat, "other").get_trials()] == before


def test_new_trials_get_notes_and_a_locked_store_is_tried_again(
    study_file: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    monkeypatch.setattr(outages, "OUTAGE_LIMIT", 0)
    running = make_publisher(study_file)
    running.refresh()
    other = optuna.load_study(study_name="small", storage=storage.default_storage_url(study_file.parent))
    failed = other.get_trials()[0]
    failed.state, failed.values = TrialState.FAIL, None
    failed.user_attrs["reason"] = "error: ValueError: | <b>no</b> [x](http://there) *"
    other.add_trial(failed)
    with closing(sqlite3.connect(study_file.parent / "store.db", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        running.refresh()
        lock.execute("ROLLBACK")
    assert not load_note(study_file, trial=3).body
    running.refresh()
    first_line = load_note(study_file, trial=3).body.splitlines()[0]
    assert first_line == r"Failed: error: ValueError: \| &lt;b>no&lt;/b> [x\](http://there) \*", "all markup is escaped"


def test_large_studies_have_notes_of_the_best_and_the_failed_trials(
    study_file: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "ALL_NOTES_LIMIT", 2)
    monkeypatch.setattr(publisher, "NOTES_PER_GROUP", 1)
    make_publisher(study_file).refresh()
    study = optuna.load_study(study_name="small", storage=storage.default_storage_url(study_file.parent))
    assert [bool(load_note(study_file, trial=n).body) for n in range(3)] == [
        n == study.best_trial.number for n in range(3)
    ]


def test_note_without_a_verdict_says_what_is_missing_and_no_password(study_file: Path) -> None:  # noqa: F811
    url = storage.default_storage_url(study_file.parent)
    optuna.delete_study(study_name="small/final", storage=url)
    make_publisher(study_file).refresh()
    assert "3 of 3 trials are finished" in load_note(study_file).body
    with serve_dashboard(
        url, load_study(study_file, ("storage='postgresql://me:secret@db/x'",)), "127.0.0.1", 0
    ) as page:
        wait_until(partial(has_verdict, study_file))
        assert request(page.url)[0] == 200
    assert "There is no verdict yet" in load_note(study_file).body and "hpo retrain" in load_note(study_file).body
    assert not any("secret" in row for table in read_rows(study_file.parent / "store.db").values() for row in table)


def test_companion_note_links_to_its_search_if_there_is_one(study_file: Path) -> None:  # noqa: F811
    make_publisher(study_file).refresh()
    body = load_note(study_file, "small/final").body
    assert body.startswith("## Final runs of small") and "(/dashboard/studies/1/note)" in body and "majority" in body
    optuna.delete_study(study_name="small", storage=storage.default_storage_url(study_file.parent))
    make_publisher(study_file).refresh()
    without_search = load_note(study_file, "small/final").body
    assert without_search.startswith("## Final runs of small") and "/note)" not in without_search


def test_trial_note_of_every_outcome() -> None:
    study = make_study_record({"every_examples": 500})
    for outcome, text in UNFINISHED.items():
        assert trial_note(make_record(TrialState.FAIL, {"reason": outcome}), study) == text
    pruned = make_record(TrialState.PRUNED, {"reason": "pruned: at rung 500"}, {500: 0.5})
    assert "Pruned at rung 500 (500 examples seen): accuracy 0.5000" in trial_note(pruned, study)
    attributes = {"metrics": {"250": {"accuracy": 0.8}, "1000": {"accuracy": 0.7}}, "best": 0.8, "best_rung": 250}
    complete = make_record(TrialState.COMPLETE, attributes, {250: 0.8, 1000: 0.7}, 0.7)
    note = trial_note(complete, make_study_record([0.25, 1.0]))
    assert "accuracy 0.7000 on validation. Its best was 0.8000, at rung 250 (25.0% of its schedule)." in note
    assert "at rung 1000" in note and "at rung 250" in note


def make_study_record(rungs: Any) -> StudyRecord:
    return StudyRecord.from_attributes({"spec": {"objective": "accuracy", "search": {"rungs": rungs}}})


def make_record(
    state: TrialState, attributes: dict[str, Any], rungs: dict[int, float] | None = None, value: float | None = None
) -> TrialRecord:
    trial = optuna.trial.create_trial(state=state, value=value, user_attrs=attributes, intermediate_values=rungs or {})
    return TrialRecord.from_trial(trial)


def test_confusion_svg_is_valid_for_any_labels() -> None:
    import xml.etree.ElementTree as tree

    svg = draw_confusion_svg([[5, 1], [0, 7]], ["<script>alert(1)</script>", "a\x00&b"], 'run "1" & more')
    assert svg
    texts = [element.text for element in tree.fromstring(svg).iter() if element.tag.endswith("text")]
    assert {"5", "1", "0", "7"} <= set(texts) and "script>" not in svg.replace("&lt;script&gt;", "")
    assert draw_confusion_svg([[0] * 21] * 21, ["x"] * 21, "many") is None


def test_missing_optuna_dashboard_error_says_what_to_install(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with (
        pytest.raises(StoreError, match=r"pip install 'hpo\[dashboard\]'"),
        serve_dashboard(storage.default_storage_url(study_file.parent), None, "127.0.0.1", 0),
    ):
        pass


def test_another_study_file_is_an_error(study_file: Path) -> None:  # noqa: F811
    for overrides, message in ((("name='none'",), "no study 'none'"), (("search.seed=9",), "search.seed: 0 -> 9")):
        with (
            pytest.raises(StudyError, match=message),
            serve_dashboard(
                storage.default_storage_url(study_file.parent), load_study(study_file, overrides), "127.0.0.1", 0
            ),
        ):
            pass
