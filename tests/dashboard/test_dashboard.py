"""optuna-dashboard on a store, as a person meets it: started from the shell, looked at in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
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
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import wsgi
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from hpo.cli import main
from hpo.dashboard import Dashboard, publisher, serve_dashboard
from hpo.dashboard.board import StudyBoard
from hpo.dashboard.confusion_svg import draw_confusion_svg
from hpo.dashboard.flat_storage import FlatStorage, load_unflattened_study
from hpo.dashboard.notes import trial_note
from hpo.dashboard.publisher import STATE_ATTRIBUTE, DashboardPublisher
from hpo.dashboard.snapshot import copy_store, served_artifact_folder
from hpo.errors import StoreError, StudyError
from hpo.store import storage
from hpo.study.spec import StudySpec, load_study
from tests.store.test_storage import postgresql  # noqa: F401
from tests.support.browser import browser, complaints, shown, wait_for  # noqa: F401
from tests.support.evaluated_study import _made, judged  # noqa: F401

HPO = [sys.executable, "-m", "hpo"]
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def served(folder: Path, *words: str, ends: bool = True) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that `hpo dashboard` prints, and its process, which is asked to end as by Ctrl-C."""
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # background jobs are made deaf to it
    command = [*HPO, "dashboard", *words, "--no-browser"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, preexec_fn=heard) as run:
        try:
            assert run.stdout
            line = run.stdout.readline()
            assert "http" in line, run.communicate()
            yield line.split()[-1], run
        finally:
            if ends:
                run.send_signal(signal.SIGINT)
                said = run.communicate(timeout=30)[1]
                assert run.returncode == 0 and "Traceback" not in said, said
            elif run.poll() is None:
                run.kill()


def ask(url: str, method: str = "GET", body: Any = None) -> tuple[int, bytes]:
    """Status and content that the server answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status), bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code), bytes(error.read())


def rows(file: Path) -> dict[str, list[Any]]:
    """Every row of a database."""
    with closing(sqlite3.connect(file)) as opened:
        tables = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(map(repr, opened.execute(f"SELECT * FROM {name}"))) for name in tables}


def files(folder: Path) -> dict[str, bytes]:
    """Every file of the store's folder of artifacts."""
    return {file.name: file.read_bytes() for file in (folder / "store.artifacts").iterdir()}


def pinned(file: Path, spec: StudySpec | None = None) -> DashboardPublisher:
    """What writes notes beside a dashboard, for the store beside a study file."""
    url = storage.default_storage_url(file.parent)
    folder = served_artifact_folder(url, None)
    assert folder
    return DashboardPublisher(FlatStorage(storage.open_storage(url)), url, FileSystemArtifactStore(folder), spec)  # type: ignore[arg-type]


def note(file: Path, study: str = "small", trial: int | None = None) -> Any:
    """Version and body of a note."""
    from optuna_dashboard._note import get_note_from_system_attrs

    found = optuna.load_study(study_name=study, storage=storage.open_storage(storage.default_storage_url(file.parent)))
    attributes = found._storage.get_study_system_attrs(found._study_id)
    number = None if trial is None else found.get_trials(deepcopy=False)[trial]._trial_id
    return get_note_from_system_attrs(attributes, number)


def until(is_so: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_judged(file: Path) -> bool:
    """Whether the verdict with its plots has been written."""
    with closing(sqlite3.connect(file.parent / "store.db")) as opened:
        query = "SELECT value_json FROM study_system_attributes WHERE key = ? AND value_json <> ?"
        return opened.execute(query, (STATE_ATTRIBUTE, '"another"')).fetchone() is not None


# What is displayed


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a served study once everything about it is written, and its file."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(_made(tmp_path_factory), folder, dirs_exist_ok=True)
    with served(folder, "small.toml", "--port", "0") as (url, _):
        until(partial(is_judged, folder / "small.toml"))
        yield url, folder / "small.toml"


def test_the_list_and_the_study_show_names_objective_and_our_plots(page: tuple[str, Path], browser: Chrome) -> None:  # noqa: F811
    url, _ = page
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/dashboard/studies/1", url)
    browser.get(url.rpartition("/studies")[0])
    wait_for(browser, "small", "small/final")
    browser.get(url)
    seen = wait_for(browser, "The winner's gain", "Promised by the search, and kept", "Best so far over device time")
    assert "accuracy" in seen and "Calibration of the winner" in seen and "model-card.md" in seen
    assert "builtin:tiny" in seen and "{" not in seen.partition("Study User Attributes")[2].partition("Rows per")[0]
    assert not complaints(browser)


def test_the_note_shows_the_verdict_as_it_is_told_elsewhere(page: tuple[str, Path], browser: Chrome) -> None:  # noqa: F811
    url, file = page
    browser.get(f"{url}/note")
    seen = wait_for(browser, "The verdict", "Did the search pay?", "Winner against baselines")
    from hpo.results.study_results import read_results

    found = read_results(load_study(file), storage.default_storage_url(file.parent), use="test").found
    assert found and found["verdict"] in seen
    assert all(row["against"] in seen for row in found["differences"])
    assert f"{found['systems'][0]['test']['accuracy']['mean']:.4f}" in seen
    assert "[//]" not in seen and "<" not in seen and "**" not in seen
    browser.find_element(By.LINK_TEXT, "search and final runs side by side").click()
    wait_for(browser, "accuracy of small/final", "Best Value of small")
    assert "ids=1,2" in browser.current_url and not complaints(browser)


def test_a_trial_shows_its_note_and_attributes_that_fit_a_line(page: tuple[str, Path], browser: Chrome) -> None:  # noqa: F811
    url, _ = page
    browser.get(f"{url}/trials?numbers=0")
    seen = wait_for(browser, "Complete: accuracy", "known-good start: paper", "in the live run", "optimizer steps")
    assert "effective_learning_rate 0.001" in seen and "seconds_train" in seen and '{"' not in seen
    assert not complaints(browser)


def test_a_final_run_shows_its_files(page: tuple[str, Path], browser: Chrome) -> None:  # noqa: F811
    url, _ = page
    browser.get(f"{url.removesuffix('1')}2/trials?numbers=0")
    seen = wait_for(browser, "A final run: a fresh training of trial #", "confusion.svg", "predictions.csv")
    assert "test_accuracy" in seen
    picture = browser.find_element(By.CSS_SELECTOR, "img[alt='confusion.svg'], img[src*='/artifacts/']")
    until(lambda: browser.execute_script("return arguments[0].naturalWidth", picture) > 100)
    link = browser.find_element(By.CSS_SELECTOR, "a[download='predictions.csv']").get_attribute("href")
    status, content = ask(str(link))
    assert status == 200 and content.startswith(b"row,label,predicted,probability_0,probability_1\n")
    assert not complaints(browser)


# How it starts and ends


def test_it_ends_at_once_with_its_port_free_and_takes_another_where_one_is_taken(judged: Path) -> None:  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with served(judged.parent, "--port", str(port), ends=False) as (url, run):
            own = int(url.split(":")[2].partition("/")[0])
            assert url.endswith("/dashboard") and own != port and ask(url)[0] == 200
            until(lambda: note(judged, trial=0)["body"])
            started = time.monotonic()
            run.send_signal(signal.SIGTERM)
            out, said = run.communicate(timeout=30)
            assert run.returncode == 0 and time.monotonic() - started < 15  # 1 or 2 where the processor is free
    assert said.splitlines() == [f"note: port {port} is taken, so this is port {own}", "Ctrl-C ends it"] and not out
    socket.create_server(("127.0.0.1", own)).close()


def test_a_browser_is_opened_where_there_is_a_screen(
    judged: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, viewer = tmp_path / "asked", tmp_path / "viewer"
    viewer.write_text(f'#!/bin/sh\necho "$1" > {asked}\n')
    viewer.chmod(0o755)
    command = " ".join(["env", "DISPLAY=:7", f"BROWSER={viewer}", *HPO, "dashboard", "--port", "0"])
    with subprocess.Popen(["script", "-qec", command, "/dev/null"], cwd=judged.parent, stdout=-1, text=True) as run:
        assert run.stdout
        line = next(line for line in run.stdout if "http" in line)
        until(lambda: asked.exists() and asked.read_text())
        run.terminate()
    assert asked.read_text().strip() == line.split()[-1]
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not Dashboard("http://127.0.0.1:1", 1, False).show()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["small.toml"], "no store at"),
        ([], "no store at"),
        (["--read-only"], "no store at"),
        (["--read-only", "--storage", "nonsense"], "storage 'nonsense' is no URL"),
        (["--host", "0.0.0.0"], "--host 0.0.0.0: whoever reaches this machine there could change and delete studies"),
        (["--host", "example.org"], "add --read-only to show a copy"),
        (["none.toml"], "none.toml: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_on_disk(
    words: list[str], says: str, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small.parent)
    monkeypatch.setattr(sys, "argv", ["hpo", "dashboard", *words, "--no-browser"])
    before, asked = sorted(small.parent.rglob("*")), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        main()
    signal.signal(signal.SIGTERM, asked)
    out, said = capsys.readouterr()
    assert left.value.code == 2 and said.startswith("hpo: ") and says in said and said.count("\n") == 1
    assert not out and sorted(small.parent.rglob("*")) == before


# A copy to look at


def test_a_copy_is_looked_at_and_nothing_of_ours_is_touched(judged: Path) -> None:  # noqa: F811
    before = rows(judged.parent / "store.db"), files(judged.parent)
    content = (judged.parent / "store.db").read_bytes()  # after rows(), which tidies up what a write-ahead log holds
    known = set(Path(tempfile.gettempdir()).glob("hpo-dashboard-*"))
    with served(judged.parent, "small.toml", "--read-only", "--host", "0.0.0.0", "--port", "0") as (printed, _):
        assert socket.gethostname() in printed
        own = f"http://127.0.0.1:{printed.split(':')[2].partition('/')[0]}"
        (copy,) = set(Path(tempfile.gettempdir()).glob("hpo-dashboard-*")) - known
        until(partial(is_judged, copy / "store.db"))
        there = json.loads(ask(f"{own}/api/studies/1")[1])
        assert "Did the search pay?" in there["note"]["body"]
        run = json.loads(ask(f"{own}/api/studies/2")[1])["trials"][0]
        for file in run["artifacts"]:
            assert ask(f"{own}/artifacts/2/{run['trial_id']}/{file['artifact_id']}")[0] == 200
            path = f"{own}/api/artifacts/2/{run['trial_id']}/{file['artifact_id']}"
            assert ask(path, "DELETE")[0] == 403
        assert ask(f"{own}/api/studies/2", "DELETE", {})[0] == 403
        assert ask(f"{own}/api/studies/1/note", "PUT", {"body": "mine", "version": 9})[0] == 403
        assert len(json.loads(ask(f"{own}/api/studies")[1])["study_summaries"]) == 2
    assert not copy.exists()
    assert (judged.parent / "store.db").read_bytes() == content
    assert before == (rows(judged.parent / "store.db"), files(judged.parent))


def test_what_is_deleted_in_a_copy_is_there_in_the_store(judged: Path, tmp_path: Path) -> None:  # noqa: F811
    before = rows(judged.parent / "store.db"), files(judged.parent)
    (tmp_path / "copy").mkdir()
    url = copy_store(storage.default_storage_url(judged.parent), None, tmp_path / "copy")
    assert rows(tmp_path / "copy" / "store.db") == before[0] and files(tmp_path / "copy") == before[1]
    for file in (tmp_path / "copy" / "store.artifacts").iterdir():
        file.write_bytes(b"")
    optuna.delete_study(study_name="small/final", storage=storage.open_storage(url))
    assert before == (rows(judged.parent / "store.db"), files(judged.parent))


def test_a_copy_of_a_server_has_the_same_ids(postgresql: str, judged: Path, tmp_path: Path) -> None:  # noqa: F811
    server = storage.open_storage(postgresql)
    own = storage.open_storage(storage.default_storage_url(judged.parent))
    for name in ("small/final", "small"):  # in another order, so that ids differ from those of a study alone
        optuna.copy_study(from_study_name=name, from_storage=own, to_storage=server)
    study = optuna.load_study(study_name="small", storage=server)
    StudyBoard(study, None).note("known by its id", "trial", study.get_trials(deepcopy=False)[1])
    (tmp_path / "copy").mkdir()
    copy_store(postgresql, load_study(judged), tmp_path / "copy")
    assert note(tmp_path / "copy" / "store.db", trial=1)["body"].startswith("known by its id")
    there = optuna.load_study(study_name="small/final", storage=f"sqlite:///{tmp_path}/copy/store.db")
    here = optuna.load_study(study_name="small/final", storage=server)
    assert there.get_trials() == here.get_trials() and there.user_attrs == here.user_attrs
    assert files(tmp_path / "copy") == files(judged.parent)
    server.engine.dispose()  # type: ignore[attr-defined]


# What is written, and what is not


def test_a_second_start_writes_nothing(judged: Path) -> None:  # noqa: F811
    pinned(judged, load_study(judged)).refresh()
    assert is_judged(judged)
    before = rows(judged.parent / "store.db"), files(judged.parent)
    pinned(judged, load_study(judged)).refresh()
    pinned(judged).refresh()
    assert before == (rows(judged.parent / "store.db"), files(judged.parent))
    uses = [row for row in before[0]["study_user_attributes"] if "dashboard: " in row]
    assert len(uses) == 1, "one look at the verdict is one use of the test split"


def test_what_a_person_wrote_stays(judged: Path) -> None:  # noqa: F811
    writes = pinned(judged, load_study(judged))
    board = StudyBoard(load_unflattened_study(writes.storage, "small"), None)
    trials = board.study.get_trials(deepcopy=False)
    app = partial(put, wsgi(writes.storage, artifact_store=writes.files))
    app("/api/studies/1/1/note", {"body": "mine, before", "version": 1})
    writes.refresh()
    (card,) = [key for key in board.attributes() if key.startswith("artifacts:")]
    app(f"/api/artifacts/1/{card.removeprefix('artifacts:')}", {}, "DELETE")
    board.study._storage.set_study_system_attr(1, STATE_ATTRIBUTE, "another")  # so that all is told once more
    ours = note(judged)["body"], note(judged, trial=1)["body"], note(judged, trial=2)["body"]
    app("/api/studies/1/note", {"body": ours[0] + "and mine", "version": 3})
    app(f"/api/studies/1/{trials[1]._trial_id}/note", {"body": "", "version": 2})
    pinned(judged, load_study(judged)).refresh()
    assert is_judged(judged) and board.attributes()[card] == "null", "what a person deleted stays deleted"
    assert note(judged, trial=0) == {"version": 1, "body": "mine, before"}
    assert note(judged)["body"] == ours[0] + "and mine" and note(judged, trial=1)["body"] == ""
    assert not board.note("another", "verdict") and not board.note("another", "trial", trials[1])
    assert board.note("another", "trial", trials[2]), "ours makes room for ours"
    assert not board.note("another", "trial", trials[2]) and note(judged, trial=2)["version"] == 2


def put(app: Any, path: str, body: Any, method: str = "PUT") -> None:
    """What the dashboard's page sends when a person saves a note."""
    import io

    data = json.dumps(body).encode()
    told: list[str] = []
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
    b"".join(app(environ, lambda status, *_: told.append(status)))
    assert told[0].startswith("2"), told


def test_a_renamed_study_keeps_what_is_stored(judged: Path) -> None:  # noqa: F811
    flat = FlatStorage(storage.open_storage(storage.default_storage_url(judged.parent)))  # type: ignore[arg-type]
    before = [trial.user_attrs for trial in load_unflattened_study(flat, "small").get_trials()]
    assert all("seconds" in each and "seconds_wall" not in each for each in before)
    assert all("seconds_wall" in trial.user_attrs for trial in flat.get_all_trials(1))
    put(wsgi(flat), "/api/studies/1/rename", {"study_name": "other"}, "POST")
    assert [trial.user_attrs for trial in load_unflattened_study(flat, "other").get_trials()] == before


def test_trials_that_end_while_it_runs_get_notes_and_a_busy_store_is_waited_for(
    judged: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage, "LOCK_TIMEOUT", 0.05)
    writes = pinned(judged)
    writes.refresh()
    other = optuna.load_study(study_name="small", storage=storage.default_storage_url(judged.parent))
    kept = other.get_trials()[0]
    kept.state, kept.values = TrialState.FAIL, None
    kept.user_attrs["reason"] = "error: ValueError: | <b>no</b> [x](http://there) *"
    other.add_trial(kept)
    with closing(sqlite3.connect(judged.parent / "store.db", isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        writes.refresh()
        busy.execute("ROLLBACK")
    assert not note(judged, trial=3)["body"]
    writes.refresh()
    said = note(judged, trial=3)["body"].splitlines()[0]
    assert said == r"Failed: error: ValueError: \| &lt;b>no&lt;/b> [x\](http://there) \*", "nothing of it is markup"


def test_of_very_many_trials_the_best_and_the_failed_have_notes(
    judged: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "ALL_NOTES_LIMIT", 2)
    monkeypatch.setattr(publisher, "NOTES_PER_GROUP", 1)
    pinned(judged).refresh()
    study = optuna.load_study(study_name="small", storage=storage.default_storage_url(judged.parent))
    assert [bool(note(judged, trial=n)["body"]) for n in range(3)] == [n == study.best_trial.number for n in range(3)]


def test_before_a_verdict_the_note_says_what_is_missing_and_no_password(judged: Path) -> None:  # noqa: F811
    url = storage.default_storage_url(judged.parent)
    optuna.delete_study(study_name="small/final", storage=url)
    pinned(judged).refresh()
    assert "3 of 3 trials are finished" in note(judged)["body"]
    with serve_dashboard(url, load_study(judged, ("storage='postgresql://me:secret@db/x'",)), "127.0.0.1", 0) as page:
        until(partial(is_judged, judged))
        assert ask(page.url)[0] == 200
    assert "There is no verdict yet" in note(judged)["body"] and "hpo retrain" in note(judged)["body"]
    assert not any("secret" in row for table in rows(judged.parent / "store.db").values() for row in table)


def test_final_runs_are_told_of_before_and_after_their_search_is_there(judged: Path) -> None:  # noqa: F811
    pinned(judged).refresh()
    said = note(judged, "small/final")["body"]
    assert said.startswith("## Final runs of small") and "(/dashboard/studies/1/note)" in said and "majority" in said
    optuna.delete_study(study_name="small", storage=storage.default_storage_url(judged.parent))
    pinned(judged).refresh()
    alone = note(judged, "small/final")["body"]
    assert alone.startswith("## Final runs of small") and "/note)" not in alone


def test_a_trial_of_every_ending_has_a_note() -> None:
    from hpo.dashboard.notes import UNFINISHED

    spec = {"objective": "accuracy", "search": {"rungs": {"every_examples": 500}}}
    for how in UNFINISHED:
        assert trial_note(trial_of(TrialState.FAIL, {"reason": how}), spec) == UNFINISHED[how]
    pruned = trial_of(TrialState.PRUNED, {"reason": "pruned: at rung 500"}, {500: 0.5})
    assert "Pruned at rung 500 (500 examples seen): accuracy 0.5000" in trial_note(pruned, spec)
    known = {"metrics": {"250": {"accuracy": 0.8}, "1000": {"accuracy": 0.7}}, "best": 0.8, "best_rung": 250}
    spec["search"] = {"rungs": [0.25, 1.0]}
    said = trial_note(trial_of(TrialState.COMPLETE, known, {250: 0.8, 1000: 0.7}, 0.7), spec)
    assert "accuracy 0.7000 on validation. Its best was 0.8000, at rung 250 (25.0% of its schedule)." in said
    assert "at rung 1000" in said and "at rung 250" in said


def trial_of(
    state: TrialState, known: dict[str, Any], rungs: dict[int, float] | None = None, value: float | None = None
) -> FrozenTrial:
    return optuna.trial.create_trial(state=state, value=value, user_attrs=known, intermediate_values=rungs or {})


def test_a_confusion_matrix_is_a_picture_whatever_the_labels_are() -> None:
    import xml.etree.ElementTree as tree

    drawn = draw_confusion_svg([[5, 1], [0, 7]], ["<script>alert(1)</script>", "a\x00&b"], 'run "1" & more')
    assert drawn
    texts = [each.text for each in tree.fromstring(drawn).iter() if each.tag.endswith("text")]
    assert {"5", "1", "0", "7"} <= set(texts) and "script>" not in drawn.replace("&lt;script&gt;", "")
    assert draw_confusion_svg([[0] * 21] * 21, ["x"] * 21, "many") is None


def test_without_the_extra_one_line_says_what_to_install(judged: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with (
        pytest.raises(StoreError, match=r"pip install 'hpo\[dashboard\]'"),
        serve_dashboard(storage.default_storage_url(judged.parent), None, "127.0.0.1", 0),
    ):
        pass


def test_another_study_file_is_refused(judged: Path) -> None:  # noqa: F811
    for words, says in ((("name='none'",), "no study 'none'"), (("search.seed=9",), "search.seed: 0 -> 9")):
        with (
            pytest.raises(StudyError, match=says),
            serve_dashboard(storage.default_storage_url(judged.parent), load_study(judged, words), "127.0.0.1", 0),
        ):
            pass
