"""An upload arrives byte for byte in a private repository, never writes the token, and loses nothing if refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.ownership import FILE_LIST
from tests.support.evaluated_study import study_file
from tests.support.hub_stand_in import TOKEN, Hub, serve_hub

__all__ = ["study_file"]
# huggingface_hub reads its settings when it is imported, so each upload runs in a new process.
PUSH = """\
import sys, pathlib
from hpo.errors import HubError
from hpo.export import hub_upload
try:
    print(hub_upload.push_to_hub(pathlib.Path(sys.argv[1]), sys.argv[2], "--public" in sys.argv))
except HubError as error:
    sys.exit(f"hpo: {error}")
"""
REPOSITORY = {"private": True, "files": {}}


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A stand-in for the hub; HF_ENDPOINT points a process to it."""
    with serve_hub() as server:
        yield server


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small folder with the kinds of files of a model folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n# small\n")
    (folder / "recipe.json").write_text('{"study": "small"}')
    return folder


def run_python(
    arguments: list[str], folder: Path, endpoint: str, token: str | None
) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder with this hub and token, and with none of the machine's own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": "hf-home"}
    environment |= {"HPO_CACHE": "cache", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **({"HF_TOKEN": token} if token else {})}
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, env=environment)


def push(model: Path, endpoint: str, *arguments: str, token: str | None = TOKEN) -> subprocess.CompletedProcess[str]:
    """Call `push_to_hub` for a folder."""
    return run_python(["-c", PUSH, model.name, *arguments], model.parent, endpoint, token)


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def assert_refused(process: subprocess.CompletedProcess[str], *phrases: str) -> None:
    """Check that a process failed with one line that has these phrases, and without the token."""
    lines = process.stderr.strip().splitlines()
    assert process.returncode and not process.stdout and len(lines) == 1, (process.stdout, process.stderr)
    assert lines[0].startswith("hpo: --push-to-hub") and all(phrase in lines[0] for phrase in phrases), lines[0]
    assert TOKEN not in process.stderr


def test_shell_exports_model_and_card_and_uploads_them(study_file: Path, hub: Hub) -> None:
    command = ["-m", "hpo", "export", study_file.name, "--output", "exported"]
    process = run_python([*command, "--push-to-hub", "me/small"], study_file.parent, hub.url, TOKEN)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == [f"{hub.url}/me/small", "exported"]
    repository = hub.repositories["me/small"]
    assert repository["private"] is True and repository["request"]["type"] == "model"
    exported = read_files(study_file.parent / "exported")
    assert exported.pop(FILE_LIST) and repository["files"] == exported
    assert {"README.md", "recipe.json", "model.safetensors", "config.json"} <= repository["files"].keys()
    for name, content in read_files(study_file.parent).items():  # the store, the folder, the caches of huggingface_hub
        assert TOKEN.encode() not in content, name
    assert TOKEN not in process.stdout + process.stderr


def test_large_files_are_uploaded_to_the_large_file_storage(model: Path, hub: Hub) -> None:
    process = push(model, hub.url, "me/small")
    assert process.returncode == 0 and process.stdout == f"{hub.url}/me/small\n", process.stderr
    assert hub.repositories["me/small"]["files"] == read_files(model)
    assert list(hub.objects.values()) == [(model / "model.safetensors").read_bytes()]
    assert not any(TOKEN.encode() in content for content in read_files(model.parent).values())


def test_public_repository_with_a_name_below_the_own_account(model: Path, hub: Hub) -> None:
    process = push(model, hub.url, "small", "--public")
    assert process.returncode == 0 and process.stdout == f"{hub.url}/me/small\n", process.stderr
    assert hub.repositories["me/small"]["private"] is False


def test_repository_with_files_is_not_overwritten(model: Path, hub: Hub) -> None:
    existing = {**REPOSITORY, "files": {"model.safetensors": b"another model"}}
    hub.repositories["me/small"] = existing
    assert_refused(push(model, hub.url, "me/small"), "exists and has files")
    assert existing["files"] == {"model.safetensors": b"another model"}


def test_empty_repository_is_used_unless_it_is_public_by_accident(model: Path, hub: Hub) -> None:
    hub.repositories["me/small"] = {"private": False, "files": {}}
    assert_refused(push(model, hub.url, "small"), "is public", "--public")
    assert not hub.repositories["me/small"]["files"]
    hub.repositories["me/small"] = {"private": True, "files": {}}
    assert push(model, hub.url, "small").returncode == 0
    assert hub.repositories["me/small"]["files"] == read_files(model)


@pytest.mark.parametrize(
    ("path", "status", "phrase"),
    [
        ("/api/repos/create", 401, "does not accept the token"),
        ("/api/repos/create", 403, "does not let this token write there"),
        ("/api/models/me/small/commit", 403, "does not let this token write there"),
        ("/me/small.git/info/lfs", 413, "answered with status 413"),
        ("/storage", 403, "does not let this token write there"),
    ],
)
def test_refused_upload_is_one_line_and_can_be_repeated(
    model: Path, hub: Hub, path: str, status: int, phrase: str
) -> None:
    before = read_files(model)
    hub.refuse[path] = status
    assert_refused(push(model, hub.url, "me/small"), hub.url, phrase, "the folder remains at model")
    assert read_files(model) == before
    del hub.refuse[path]
    assert push(model, hub.url, "me/small").returncode == 0
    assert hub.repositories["me/small"]["files"] == before


def test_wrong_token_is_an_error(model: Path, hub: Hub) -> None:
    assert_refused(push(model, hub.url, "me/small", token="hf_another"), "does not accept the token")
    assert hub.repositories == {}


def test_unreachable_hub_is_an_error(model: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = push(model, f"http://127.0.0.1:{port}", "me/small")
    assert_refused(process, f"http://127.0.0.1:{port} cannot be reached", "the folder remains at model")


def test_invalid_upload_sends_no_request(model: Path, hub: Hub) -> None:
    assert_refused(push(model, hub.url, "me/../small"), "'me/../small'")
    assert_refused(push(model, hub.url, "me/small", token=None), "there is no token", "hf auth login")
    assert not hub.calls
