"""While a dashboard runs, pages of other sites can neither read its files nor change anything."""

from __future__ import annotations

import http.client
import io
import socket
import uuid
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore

from hpo.dashboard import serve_dashboard
from hpo.dashboard.board import StudyBoard
from hpo.dashboard.dashboard_internals import DELETED_FILE, file_description, file_key
from hpo.dashboard.server import _is_served_name
from hpo.store.storage import artifact_folder, default_storage_url, open_storage


@pytest.fixture
def board(tmp_path: Path) -> Any:
    """A study with a trial in an SQLite store, and its artifacts."""
    url = default_storage_url(tmp_path)
    storage: Any = open_storage(url)
    study = optuna.create_study(study_name="any", storage=storage)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    artifact_folder(url, tmp_path).mkdir()
    yield StudyBoard(study, FileSystemArtifactStore(artifact_folder(url, tmp_path)))
    storage.engine.dispose()


def file_ids(board: StudyBoard) -> list[str]:
    """Return the ids of the files that the dashboard shows."""
    attributes = board.attributes()
    return [key.rpartition(":")[2] for key, value in attributes.items() if "artifacts:" in key and value != "null"]


def send(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers=headers)
    with connection.getresponse() as response:
        answer = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return answer


@pytest.mark.parametrize(("served", "read_only"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_other_sites_are_refused(served: str, read_only: bool, board: StudyBoard, tmp_path: Path) -> None:
    board.write_file("card.md", "text/markdown", "private")
    with serve_dashboard(default_storage_url(tmp_path), None, served, 0, read_only) as page:
        (file_id,) = file_ids(board)
        path, own = f"/artifacts/1/{file_id}", f"127.0.0.1:{page.port}"
        status, headers, content = send(page.port, path)
        assert (status, content) == (200, b"private")
        assert not [name for name in headers if name.lower().startswith("access-control-")]
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and headers["X-Frame-Options"] == "SAMEORIGIN"
        others = ("evil.example", f"evil.example:{page.port}", "127.0.0.1.evil.example", "localhost.evil.example", "")
        for name in others:
            assert send(page.port, path, Host=name)[0] == 403
        for origin in ("http://evil.example", f"http://evil.example:{page.port}", "null", "http://127.0.0.1:1"):
            assert send(page.port, path, Origin=origin)[0] == 403
            assert send(page.port, "/api/studies/1", "DELETE", Origin=origin, **{"Content-Length": "0"})[0] == 403
        assert send(page.port, path, Origin=f"http://{own}")[0] == 200
        assert send(page.port, path, Host=f"localhost:{page.port}")[0] == 200
        if read_only:
            assert send(page.port, path, Host=f"{socket.gethostname()}:{page.port}")[0] == 200
    assert optuna.get_all_study_names(default_storage_url(tmp_path)) == ["any"]


def test_names_under_which_a_dashboard_may_be_requested() -> None:
    assert _is_served_name("::1", "127.0.0.1") and not _is_served_name("192.168.1.2", "127.0.0.1")
    assert _is_served_name("gpu.example", "GPU.example") and not _is_served_name("other.example", "gpu.example")
    assert _is_served_name("192.168.1.2", "0.0.0.0") and not _is_served_name("gpu.example", "0.0.0.0")


def test_ids_of_files_cannot_be_guessed_and_stay_the_same(board: StudyBoard) -> None:
    (trial,) = board.study.get_trials()
    for owner in (None, trial):
        assert board.write_file("card.md", "text/markdown", "first", owner)
        assert not board.write_file("card.md", "text/markdown", "first", owner)
    ids = file_ids(board)
    assert len(set(ids)) == 2 and all(uuid.UUID(file_id).version == 4 for file_id in ids)
    assert board.write_file("card.md", "text/markdown", "second") and file_ids(board) == ids
    board._set_attribute(file_key(ids[0], None), DELETED_FILE)
    assert not board.write_file("card.md", "text/markdown", "third"), "a file that a person deleted stays deleted"


def test_a_guessable_id_of_an_earlier_version_is_replaced(board: StudyBoard) -> None:
    assert board.artifacts
    for name in ("card.md", "gone.md"):
        old_id = board._guessable_id(name, None)
        board.artifacts.write(old_id, io.BytesIO(b"private"))
        board._set_attribute(file_key(old_id, None), file_description(old_id, name, "text/markdown"))
    board._set_attribute(file_key(board._guessable_id("gone.md", None), None), DELETED_FILE)
    assert board.write_file("card.md", "text/markdown", "private")
    assert not board.write_file("gone.md", "text/markdown", "private")
    (new_id,) = file_ids(board)
    assert uuid.UUID(new_id).version == 4
    with pytest.raises(optuna.artifacts.exceptions.ArtifactNotFound):
        board.artifacts.open_reader(board._guessable_id("card.md", None))
