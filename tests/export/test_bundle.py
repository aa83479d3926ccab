"""A bundle holds the complete study and is deterministic; reading one trusts nothing in it."""

from __future__ import annotations

import json
import re
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from hpo.errors import SpecError
from hpo.export import bundle, bundle_writer
from hpo.export.formats import export_format
from hpo.results.best_config import best_config_dict, best_config_toml
from hpo.results.study_results import StudyResults
from hpo.study.spec import load_study
from tests.conftest import SMALL
from tests.support.evaluated_study import open_results, results, study_file
from tests.support.zip_files import read_zip, write_zip

__all__ = ["results", "study_file"]
STUDIES = sorted((Path(__file__).resolve().parents[2] / "studies").glob("*.toml"))


@pytest.fixture
def bundle_file(results: StudyResults) -> Path:
    """A bundle of the small study."""
    return export_format(results, "bundle")


def test_bundle_holds_the_complete_study(bundle_file: Path, results: StudyResults, tmp_path: Path) -> None:
    files = read_zip(bundle_file)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "study.toml").write_bytes(files["study.toml"])
    spec = load_study(elsewhere / "study.toml")
    assert spec.fixed == results.fixed_fields and spec.speed == results.spec.speed and spec.final == results.spec.final
    bundled, original = spec.identity(), results.spec.identity()
    differing = {name for name in bundled if bundled[name] != original.get(name)}
    assert differing == {f"training.{name}" for name in results.accelerations}
    config = best_config_dict(results)
    assert json.loads(files["best.json"]).items() >= config.items()
    assert files["best_config.toml"].decode() == best_config_toml(results)
    comparison = json.loads(files["comparison.json"])
    assert results.comparison
    assert comparison == results.comparison.model_dump() | {"baseline_command": "hpo baseline STUDY"}
    assert b"small" in files["report.html"] and files["report.md"].startswith(b"# small")
    read = bundle.read_bundle(bundle_file)
    assert read.best.values == config["values"] and read.best.test and read.best.test.values == config["test"]["values"]
    assert read.data.fingerprint == config["data"] and {name: len(rows) for name, rows in read.rows.items()} == {
        "train": 96,
        "validation": 32,
        "test": 400,
    }


def test_equal_content_gives_an_equal_bundle(bundle_file: Path, results: StudyResults) -> None:
    with zipfile.ZipFile(bundle_file) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    assert names == [bundle.MANIFEST, *sorted(names[1:])] and {entry.date_time for entry in entries} == {
        bundle_writer._TIMESTAMP
    }
    before, again = read_zip(bundle_file), read_zip(export_format(results, "bundle"))
    dated = {bundle.MANIFEST, "report.html", "report.md"}  # the report contains the time
    assert {name: again[name] for name in again.keys() - dated} == {
        name: before[name] for name in before.keys() - dated
    }


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_resolved_study_file_reads_as_the_same_study(file: Path, tmp_path: Path) -> None:
    spec = load_study(file, ("search.rungs={every_examples=50}", 'search.sampler={name="tpe", n_startup_trials=5}'))
    (tmp_path / "study.toml").write_text(
        bundle_writer.study_as_toml(spec, {"bf16": True, "model.attention_dropout": 0.0})
    )
    again = load_study(tmp_path / "study.toml")
    training = {**spec.training, "bf16": True, "model.attention_dropout": 0.0, "speed": spec.speed}
    assert again.resolved() == {**spec.resolved(), "training": training}


def test_storage_url_is_not_exported(study_file: Path) -> None:
    spec = load_study(study_file, ('storage="postgresql://me:secret@db/hpo"',))
    assert "secret" not in bundle_writer.study_as_toml(spec, {}) and "storage" not in bundle_writer.study_as_toml(
        spec, {}
    )


def test_constraints_are_valid_for_pip() -> None:
    lines = bundle_writer.pip_constraints().splitlines()
    assert lines[0].startswith("# Python 3.")
    requirements = {}
    for line in lines[1:]:
        requirement = Requirement(line.partition("#")[0])
        assert re.fullmatch(r"[\w.-]+==[\w.!]+", line.partition("#")[0].strip()) and requirement.url is None, line
        requirements[requirement.name] = requirement
    assert lines[1:] == sorted(lines[1:], key=lambda line: line.partition("==")[0])
    assert requirements["torch"].specifier.contains(version("torch")), "a local version must satisfy its base version"
    assert {"hpo", "transformers", "optuna", "scikit-learn"} <= requirements.keys()


def test_without_texts_there_are_no_digests(study_file: Path) -> None:
    results = open_results(study_file)
    results.__dict__["_data"] = (None, "they are missing")
    bundle_writer.write_bundle(results, study_file.parent / "b.zip")
    assert bundle.ROWS not in read_zip(study_file.parent / "b.zip")
    assert bundle.read_bundle(study_file.parent / "b.zip").rows == {}


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(SpecError, match=message) as error_info:
        bundle.read_bundle(path)
    assert str(error_info.value).startswith(f"{path}: ") and "\n" not in str(error_info.value)


def test_file_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.zip", "no such file; `hpo export STUDY --format bundle` writes one")
    (tmp_path / "text.zip").write_text(SMALL)
    assert_refused(tmp_path / "text.zip", "is not a readable bundle: File is not a zip file")
    assert_refused(
        write_zip(tmp_path / "other.zip", {"a.txt": b"a"}), "has no manifest.json, so it is not a bundle of hpo"
    )
    assert_refused(write_zip(tmp_path / "odd.zip", {bundle.MANIFEST: b"[]"}), "its manifest.json is invalid: ")
    (tmp_path / "folder.zip").mkdir()
    assert_refused(tmp_path / "folder.zip", "is not a readable bundle: Is a directory$")


def test_modified_or_damaged_bundle_is_refused(bundle_file: Path, tmp_path: Path) -> None:
    files = read_zip(bundle_file)
    for name in files.keys() - {bundle.MANIFEST}:
        changed = write_zip(tmp_path / "b.zip", files | {name: files[name] + b" "})
        assert_refused(changed, f"the checksum of {name} differs")
        without = {key: content for key, content in files.items() if key != name}
        assert_refused(write_zip(tmp_path / "b.zip", without), f"has no {name}")
    original = bundle_file.read_bytes()
    for cut in (100, len(original) // 2, len(original) - 10):
        (tmp_path / "cut.zip").write_bytes(original[:cut])
        assert_refused(tmp_path / "cut.zip", "is not a readable bundle")
    for offset in range(60, len(original), len(original) // 40):
        (tmp_path / "bit.zip").write_bytes(
            original[:offset] + bytes([original[offset] ^ 0xFF]) + original[offset + 1 :]
        )
        try:
            assert bundle.read_bundle(tmp_path / "bit.zip")  # if the changed bit is in a field that is not read
        except SpecError as error:
            assert "\n" not in str(error)


def test_zip_bomb_is_refused_by_its_size(tmp_path: Path) -> None:
    write_zip(tmp_path / "bomb.zip", {bundle.MANIFEST: bytes(257 * 2**20)})
    assert (tmp_path / "bomb.zip").stat().st_size < 2**20
    assert_refused(tmp_path / "bomb.zip", "holds 257 MB, more than the 256 MB of a bundle")


def test_manifest_is_validated(bundle_file: Path, tmp_path: Path) -> None:
    files = read_zip(bundle_file)
    manifest = json.loads(files[bundle.MANIFEST])
    for change, message in (
        ({"bundle": 2, "hpo": "9.0"}, "was written by hpo 9.0, which is newer"),
        ({"study": "../../evil"}, "its manifest.json is invalid: study "),
        ({"files": {}}, "the checksum of study.toml differs"),
        ({"files": manifest["files"] | {"../../evil": "0"}}, "has no ../../evil"),
    ):
        content = json.dumps(manifest | change).encode()
        assert_refused(write_zip(tmp_path / "b.zip", files | {bundle.MANIFEST: content}), message)
