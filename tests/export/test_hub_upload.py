"""What is pushed arrives byte for byte in a private place; the token stays where it was; a refusal loses nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.evaluated_study import judged
from tests.support.hub_stand_in import TOKEN, Hub, serving

__all__ = ["judged"]
# huggingface_hub reads its settings when it is imported, so each push is a process of its own.
PUSH = """\
import sys, pathlib
from hpo.errors import HubError
from hpo.export import hub_upload
try:
    print(hub.push(pathlib.Path(sys.argv[1]), sys.argv[2], "--public" in sys.argv))
except HubError as error:
    sys.exit(f"hpo: {error}")
"""
REPOSITORY = {"private": True, "files": {}}


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A stand-in for the hub, which a process is told of by HF_ENDPOINT."""
    with serving() as server:
        yield server


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with all that a model folder has, in little."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n# small\n")
    (folder / "recipe.json").write_text('{"study": "small"}')
    return folder


def run(words: list[str], folder: Path, endpoint: str, token: str | None) -> subprocess.CompletedProcess[str]:
    """A process of Python in a folder, with that hub and token and none of this machine's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": "hf-home"}
    environment |= {"HPO_CACHE": "cache", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **({"HF_TOKEN": token} if token else {})}
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, env=environment)


def push(model: Path, endpoint: str, *words: str, token: str | None = TOKEN) -> subprocess.CompletedProcess[str]:
    """`hub.push` of a folder."""
    return run(["-c", PUSH, model.name, *words], model.parent, endpoint, token)


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line that says what is the matter, without the token."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode and not done.stdout and len(lines) == 1, (done.stdout, done.stderr)
    assert lines[0].startswith("hpo: --push-to-hub") and all(word in lines[0] for word in words), lines[0]
    assert TOKEN not in done.stderr


def test_the_shell_makes_model_and_card_and_sends_them(judged: Path, hub: Hub) -> None:
    shell = ["-m", "hpo", "export", judged.name, "--output", "taken"]
    done = run([*shell, "--push-to-hub", "me/small"], judged.parent, hub.url, TOKEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{hub.url}/me/small", "taken"]
    repository = hub.repositories["me/small"]
    assert repository["private"] is True and repository["asked"]["type"] == "model"
    assert repository["files"] == files(judged.parent / "taken")
    assert {"README.md", "recipe.json", "model.safetensors", "config.json"} <= repository["files"].keys()
    for name, content in files(judged.parent).items():  # the store, the folder, the hub's own caches
        assert TOKEN.encode() not in content, name
    assert TOKEN not in done.stdout + done.stderr


def test_large_files_go_through_the_storage_for_them(model: Path, hub: Hub) -> None:
    done = push(model, hub.url, "me/small")
    assert done.returncode == 0 and done.stdout == f"{hub.url}/me/small\n", done.stderr
    assert hub.repositories["me/small"]["files"] == files(model)
    assert list(hub.objects.values()) == [(model / "model.safetensors").read_bytes()]
    assert not any(TOKEN.encode() in content for content in files(model.parent).values())


def test_public_is_said_and_an_own_name_needs_no_user(model: Path, hub: Hub) -> None:
    done = push(model, hub.url, "small", "--public")
    assert done.returncode == 0 and done.stdout == f"{hub.url}/me/small\n", done.stderr
    assert hub.repositories["me/small"]["private"] is False


def test_what_is_there_is_not_overwritten(model: Path, hub: Hub) -> None:
    theirs = {**REPOSITORY, "files": {"model.safetensors": b"another model"}}
    hub.repositories["me/small"] = theirs
    assert_refused(push(model, hub.url, "me/small"), "with files in it")
    assert theirs["files"] == {"model.safetensors": b"another model"}


def test_an_empty_one_is_filled_unless_more_would_see_it_than_was_said(model: Path, hub: Hub) -> None:
    hub.repositories["me/small"] = {"private": False, "files": {}}
    assert_refused(push(model, hub.url, "small"), "it is public", "--public")
    assert not hub.repositories["me/small"]["files"]
    hub.repositories["me/small"] = {"private": True, "files": {}}
    assert push(model, hub.url, "small").returncode == 0
    assert hub.repositories["me/small"]["files"] == files(model)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/repos/create", 401, "does not know the token"),
        ("/api/repos/create", 403, "does not let this token write there"),
        ("/api/models/me/small/commit", 403, "does not let this token write there"),
        ("/me/small.git/info/lfs", 413, "answered 413"),
        ("/storage", 403, "does not let this token write there"),
    ],
)
def test_a_refusal_is_one_line_and_the_same_command_tries_again(
    model: Path, hub: Hub, path: str, status: int, words: str
) -> None:
    before = files(model)
    hub.refuse[path] = status
    assert_refused(push(model, hub.url, "me/small"), hub.url, words, "the folder stays at model")
    assert files(model) == before
    del hub.refuse[path]
    assert push(model, hub.url, "me/small").returncode == 0
    assert hub.repositories["me/small"]["files"] == before


def test_a_wrong_token_is_told(model: Path, hub: Hub) -> None:
    assert_refused(push(model, hub.url, "me/small", token="hf_another"), "does not know the token")
    assert hub.repositories == {}


def test_nobody_answers(model: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = push(model, f"http://127.0.0.1:{port}", "me/small")
    assert_refused(done, f"http://127.0.0.1:{port} cannot be reached", "the folder stays at model")


def test_what_cannot_be_sent_calls_nobody(model: Path, hub: Hub) -> None:
    assert_refused(push(model, hub.url, "me/../small"), "'me/../small'")
    assert_refused(push(model, hub.url, "me/small", token=None), "there is no token", "hf auth login")
    assert not hub.calls
