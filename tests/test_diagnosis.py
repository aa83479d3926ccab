"""`hpo doctor` finds each kind of damage and names the remedy; other commands end in one line."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hpo.atomic import scratch_folder
from tests.support.command_line import Ended, run_hpo
from tests.support.evaluated_study import study_file

__all__ = ["run_hpo", "study_file"]
COMMANDS = ("show", "search", "compare", "report")


def change_store(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file.parent / "store.db")) as store:
        assert store.execute(statement).rowcount
        store.commit()


def set_attribute(table: str, key: str, text: str) -> Callable[[Path], None]:
    statement = f"UPDATE {table}_user_attributes SET value_json = '{text}' WHERE key = '{key}'"
    return lambda file: change_store(file, statement)


def cut_first_artifact(file: Path) -> None:
    artifact = min((file.parent / "store.artifacts").iterdir())
    artifact.write_bytes(artifact.read_bytes()[:500])


def zero_weights(file: Path) -> None:
    weights = file.parent / "small" / "model" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-800] + bytes(400) + content[-400:])


def overwrite_pages(file: Path) -> None:
    with closing(sqlite3.connect(file.parent / "store.db")) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.execute("PRAGMA journal_mode = DELETE")
    content = bytearray((file.parent / "store.db").read_bytes())
    start = len(content) // 2
    content[start : start + 20_000] = random.Random(0).randbytes(20_000)
    (file.parent / "store.db").write_bytes(content)


STORE_DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "attribute of a trial": (set_attribute("trial", "seconds", "{"), "trial 0 of study 'small': attribute 'seconds'"),
    "form of an attribute": (set_attribute("trial", "metrics", "[1]"), "attribute 'metrics' has a wrong form"),
    "attribute of a study": (set_attribute("study", "data", "7"), "study 'small': attribute 'data' has a wrong form"),
    "pages": (overwrite_pages, "sqlite3"),
}
OTHER_DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "artifact": (cut_first_artifact, "its predictions.csv is damaged; `hpo "),
    "weights": (zero_weights, "model.safetensors: is damaged"),
    "value": (lambda file: change_store(file, "DELETE FROM trial_values"), "is complete and has no value"),
    "number": (lambda file: change_store(file, "UPDATE trials SET number = 7 WHERE number = 1"), "are not 0, 1, 2"),
}


@pytest.mark.parametrize("damage", STORE_DAMAGES | OTHER_DAMAGES)
def test_doctor_finds_the_damage(damage: str, study_file: Path, run_hpo: Callable[..., Ended]) -> None:  # noqa: F811
    harm, expected = (STORE_DAMAGES | OTHER_DAMAGES)[damage]
    harm(study_file)
    before = {path: path.read_bytes() for path in study_file.parent.rglob("*") if path.is_file()}
    ended = run_hpo("doctor", study_file)
    assert ended.code == 1 and expected in ended.output
    assert "damaged" in ended.output.splitlines()[-1]
    after = {path: path.read_bytes() for path in study_file.parent.rglob("*") if path.is_file()}
    assert {path: after.get(path) for path in before if not path.name.endswith("-shm")} == {
        path: content for path, content in before.items() if not path.name.endswith("-shm")
    }


@pytest.mark.parametrize("damage", STORE_DAMAGES)
def test_commands_end_in_one_line_that_names_the_remedy(
    damage: str,
    study_file: Path,  # noqa: F811
    run_hpo: Callable[..., Ended],  # noqa: F811
) -> None:
    STORE_DAMAGES[damage][0](study_file)
    for command in COMMANDS:
        ended = run_hpo(command, study_file)
        assert ended.code == 2 and ended.errors.splitlines()[-1].startswith("hpo: ")
        assert "the store is damaged" in ended.errors and "`hpo doctor` lists what is damaged" in ended.errors


def test_a_sound_store_has_no_damage_and_leftovers_are_named(
    study_file: Path,  # noqa: F811
    run_hpo: Callable[..., Ended],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(study_file.parent)
    assert json.loads(run_hpo("doctor", "--json").output)["findings"] == []
    artifact = next((study_file.parent / "store.artifacts").iterdir())
    shutil.copy(artifact, artifact.with_name("orphan"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder() as scratch:
        shutil.copytree(scratch.parent, study_file.parent / "small" / scratch.parent.name)
        ended = run_hpo("doctor", "small.toml", "--json")
    report = json.loads(ended.output)
    assert ended.code == 0 and not report["damaged"]
    assert [(Path(finding["place"]).name, finding["is_damage"]) for finding in report["findings"]] == [
        ("orphan", False),
        (scratch.parent.name, False),
    ]
    assert report["environment"]["threads"] >= 1 and "torch" in report["environment"]["versions"]


def test_without_a_store_doctor_says_so(tmp_path: Path, run_hpo: Callable[..., Ended]) -> None:  # noqa: F811
    ended = run_hpo("doctor", "--storage", f"sqlite:///{tmp_path}/none.db")
    assert ended.code == 2 and "no store at" in ended.errors
