"""A bundle holds the study whole, is the same each time, and whoever reads one takes nothing on trust."""

from __future__ import annotations

import json
import re
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from hpo.errors import SpecError
from hpo.export import bundle
from hpo.export.formats import export_format
from hpo.results.best_config import best_config_dict, best_config_toml
from hpo.results.study_results import StudyResults
from hpo.study.spec import load_study
from tests.conftest import SMALL
from tests.support.evaluated_study import judged, record, record_of
from tests.support.zip_files import contents, zipped

__all__ = ["judged", "record"]
STUDIES = sorted((Path(__file__).resolve().parents[2] / "studies").glob("*.toml"))


@pytest.fixture
def made(record: StudyResults) -> Path:
    """A bundle of the small study."""
    return export_format(record, "bundle")


def test_it_holds_the_study_whole(made: Path, record: StudyResults, tmp_path: Path) -> None:
    files = contents(made)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "study.toml").write_bytes(files["study.toml"])
    spec = load_study(elsewhere / "study.toml")
    assert spec.fixed == record.fixed and spec.speed == "exact" and spec.final == record.spec.final
    ours, theirs = ({**each.identity(), "training.speed": ""} for each in (spec, record.spec))
    assert {name for name in ours if ours[name] != theirs.get(name)} == {f"training.{name}" for name in record.levers}
    told = best_config_dict(record)
    assert json.loads(files["best.json"]).items() >= told.items()
    assert files["best_config.toml"].decode() == best_config_toml(record)
    comparison = json.loads(files["comparison.json"])
    assert record.found and comparison == record.found | {"make": "hpo baseline STUDY"}
    assert b"small" in files["report.html"] and files["report.md"].startswith(b"# small")
    read = bundle.read_bundle(made)
    assert read.best.values == told["values"] and read.best.test and read.best.test.values == told["test"]["values"]
    assert read.data.fingerprint == told["data"] and {name: len(rows) for name, rows in read.rows.items()} == {
        "train": 96,
        "validation": 32,
        "test": 400,
    }


def test_it_is_the_same_each_time(made: Path, record: StudyResults) -> None:
    first, again = made.read_bytes(), {}
    with zipfile.ZipFile(made) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    assert names == [bundle.MANIFEST, *sorted(names[1:])] and {entry.date_time for entry in entries} == {bundle._WHEN}
    before, again = contents(made), contents(export_format(record, "bundle"))
    dated = {bundle.MANIFEST, "report.html", "report.md"}  # the report says when it was made
    assert {name: again[name] for name in again.keys() - dated} == {
        name: before[name] for name in before.keys() - dated
    }
    assert first


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_any_study_reads_the_same_from_its_resolved_file(file: Path, tmp_path: Path) -> None:
    spec = load_study(file, ("search.rungs={every_examples=50}", 'search.sampler={name="tpe", n_startup_trials=5}'))
    (tmp_path / "study.toml").write_text(bundle.study_as_toml(spec, {"bf16": True, "model.attention_dropout": 0.0}))
    again = load_study(tmp_path / "study.toml")
    said = {**spec.training, "bf16": True, "model.attention_dropout": 0.0, "speed": "exact"}
    assert again.resolved() == {**spec.resolved(), "training": said}


def test_the_storage_stays_at_home(judged: Path) -> None:
    spec = load_study(judged, ('storage="postgresql://me:secret@db/hpo"',))
    assert "secret" not in bundle.study_as_toml(spec, {}) and "storage" not in bundle.study_as_toml(spec, {})


def test_constraints_are_what_pip_takes() -> None:
    lines = bundle.pip_constraints().splitlines()
    assert lines[0].startswith("# Python 3.")
    found = {}
    for line in lines[1:]:
        requirement = Requirement(line.partition("#")[0])
        assert re.fullmatch(r"[\w.-]+==[\w.!]+", line.partition("#")[0].strip()) and requirement.url is None, line
        found[requirement.name] = requirement
    assert lines[1:] == sorted(lines[1:], key=lambda line: line.partition("==")[0])
    assert found["torch"].specifier.contains(version("torch")), "a local version satisfies its base version"
    assert {"hpo", "transformers", "optuna", "scikit-learn"} <= found.keys()


def test_without_the_texts_there_are_no_digests(judged: Path) -> None:
    record = record_of(judged)
    record.__dict__["_data"] = (None, "they are gone")
    bundle.write_bundle(record, judged.parent / "b.zip")
    assert (
        bundle.ROWS not in contents(judged.parent / "b.zip") and bundle.read_bundle(judged.parent / "b.zip").rows == {}
    )


def refused(path: Path, words: str) -> None:
    with pytest.raises(SpecError, match=words) as told:
        bundle.read_bundle(path)
    assert str(told.value).startswith(f"{path}: ") and "\n" not in str(told.value)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.zip", "no such file; `hpo export STUDY --format bundle` makes one")
    (tmp_path / "text.zip").write_text(SMALL)
    refused(tmp_path / "text.zip", "is no bundle that can be read: File is not a zip file")
    refused(zipped(tmp_path / "other.zip", {"a.txt": b"a"}), "has no manifest.json, so it is no bundle of hpo")
    refused(zipped(tmp_path / "odd.zip", {bundle.MANIFEST: b"[]"}), "its manifest.json cannot be: ")
    (tmp_path / "folder.zip").mkdir()
    refused(tmp_path / "folder.zip", "can be read: Is a directory$")


def test_what_was_changed_or_damaged_is_refused(made: Path, tmp_path: Path) -> None:
    files = contents(made)
    for name in files.keys() - {bundle.MANIFEST}:
        changed = zipped(tmp_path / "b.zip", files | {name: files[name] + b" "})
        refused(changed, f"the checksum of {name} is another")
        without = {key: content for key, content in files.items() if key != name}
        refused(zipped(tmp_path / "b.zip", without), f"has no {name}")
    whole = made.read_bytes()
    for cut in (100, len(whole) // 2, len(whole) - 10):
        (tmp_path / "cut.zip").write_bytes(whole[:cut])
        refused(tmp_path / "cut.zip", "is no bundle that can be read")
    for place in range(60, len(whole), len(whole) // 40):
        (tmp_path / "bit.zip").write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert bundle.read_bundle(tmp_path / "bit.zip")  # where the change is in what nobody reads
        except SpecError as error:
            assert "\n" not in str(error)


def test_a_bomb_does_not_go_off(tmp_path: Path) -> None:
    zipped(tmp_path / "bomb.zip", {bundle.MANIFEST: bytes(257 * 2**20)})
    assert (tmp_path / "bomb.zip").stat().st_size < 2**20
    refused(tmp_path / "bomb.zip", "holds 257 MB, more than a bundle has")


def test_a_manifest_cannot_say_anything(made: Path, tmp_path: Path) -> None:
    files = contents(made)
    manifest = json.loads(files[bundle.MANIFEST])
    for change, words in (
        ({"bundle": 2, "hpo": "9.0"}, "was made by hpo 9.0, which is newer"),
        ({"study": "../../evil"}, "its manifest.json cannot be: study "),
        ({"files": {}}, "the checksum of study.toml is another"),
        ({"files": manifest["files"] | {"../../evil": "0"}}, "has no ../../evil"),
    ):
        content = json.dumps(manifest | change).encode()
        refused(zipped(tmp_path / "b.zip", files | {bundle.MANIFEST: content}), words)
