"""The identity of a study: content counts, the place of files does not, and older stores still match."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hpo.errors import StudyError
from hpo.search.preflight import load_study_data
from hpo.store.storage import check_same_data, check_same_spec, open_storage, open_study, storage_url
from hpo.study.identity import LOCAL_FILES, find_changes, fingerprint_checkpoint
from hpo.study.spec import StudySpec, load_study
from tests.conftest import SMALL

DATA = {"fingerprint": "abc", "rows": {"train": 2}, "labels": ["no", "yes"]}


def write_project(folder: Path) -> Path:
    """A study file outside the folder of its data and of its checkpoint."""
    (folder / "studies").mkdir(parents=True)
    (folder / "rows").mkdir()
    (folder / "rows" / "train.csv").write_text("text,label\n")
    write_checkpoint(folder / "model", b"weights")
    study = folder / "studies" / "small.toml"
    study.write_text(SMALL)
    return study


def write_checkpoint(folder: Path, weights: bytes) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "model.safetensors").write_bytes(weights)


def load(study: Path) -> StudySpec:
    """The study with absolute paths from the shell."""
    project = study.parents[1]
    rows, model = project / "rows" / "train.csv", project / "model"
    return load_study(study, (f"data.source={rows}", f"model.checkpoint={model}"))


def test_a_moved_project_is_the_same_study(tmp_path: Path) -> None:
    spec = load(write_project(tmp_path / "before"))
    identity, spec_hash = spec.identity(), spec.hash()
    open_study(open_storage(storage_url(spec)), spec, "maximize", {"data": DATA})
    shutil.move(tmp_path / "before", tmp_path / "after")
    moved = load(tmp_path / "after" / "studies" / "small.toml")
    assert moved.identity() == identity and moved.hash() == spec_hash
    assert str(tmp_path) not in str(moved.identity())
    study = open_study(open_storage(storage_url(moved)), moved, "maximize", {"data": DATA})
    check_same_spec(study, moved)
    with pytest.raises(StudyError, match="the data changed"):
        open_study(open_storage(storage_url(moved)), moved, "maximize", {"data": {**DATA, "fingerprint": "xyz"}})


def test_files_of_any_path_and_number_are_the_same_key(tmp_path: Path) -> None:
    study = write_project(tmp_path / "project")
    text = study.read_text().replace('source = "builtin:reviews"', 'train = "../rows/train.csv"')
    study.write_text(text)
    spec = load_study(study)
    listed = load_study(study, (f'data.train=["{tmp_path}/project/rows/*.csv"]',))
    assert spec.identity()["data.train"] == LOCAL_FILES and spec.identity() == listed.identity()


def test_another_checkpoint_is_another_study(tmp_path: Path) -> None:
    study = write_project(tmp_path / "project")
    spec = load(study)
    stored = open_study(open_storage(storage_url(spec)), spec, "maximize", {"data": DATA})
    write_checkpoint(tmp_path / "project" / "other", b"Weights")
    with pytest.raises(StudyError, match=r"model.checkpoint: 'model \[sha256:\w+\]' -> 'other \[sha256:\w+\]'"):
        check_same_spec(stored, load_study(study, (*spec.overrides, f"model.checkpoint={tmp_path}/project/other")))
    shutil.rmtree(tmp_path / "project" / "model")
    check_same_spec(stored, load(study))  # a report needs no weights


def test_a_large_checkpoint_is_sampled_over_its_whole_length(tmp_path: Path) -> None:
    size, fingerprints = 12_000_000, set()
    for position in (None, 0, size // 2, size - 1):
        weights = bytearray(size)
        if position is not None:
            weights[position : position + 300_000] = b"x" * len(weights[position : position + 300_000])
        folder = tmp_path / str(position)
        write_checkpoint(folder, bytes(weights))
        fingerprints.add(fingerprint_checkpoint(folder))
        (folder / "README.md").write_text("a card changes nothing")
        assert fingerprint_checkpoint(folder) in fingerprints
    assert len(fingerprints) == 4


@pytest.mark.parametrize(
    ("key", "stored", "current", "is_change"),
    [
        ("data.train", "/home/a/rows.csv", LOCAL_FILES, False),
        ("data.train", ["/home/a/rows.csv"], LOCAL_FILES, False),
        ("data.train", "rows.csv", LOCAL_FILES, False),
        ("data.test", None, LOCAL_FILES, True),
        ("data.validation", 0.2, LOCAL_FILES, True),
        ("data.source", "stanfordnlp/imdb", "stanfordnlp/sst2", True),
        ("data.source", "stanfordnlp/imdb", LOCAL_FILES, False),
        ("model.checkpoint", "/home/a/minilm", "minilm [sha256:ab]", False),
        ("model.checkpoint", "../minilm", "minilm [sha256:ab]", False),
        ("model.checkpoint", "/home/a/bert", "minilm [sha256:ab]", True),
        ("model.checkpoint", "minilm [sha256:ab]", "renamed [sha256:ab]", False),
        ("model.checkpoint", "minilm [sha256:ab]", "minilm [sha256:cd]", True),
        ("model.checkpoint", "bert-base-uncased", "bert-base-cased", True),
        ("model.checkpoint", "builtin:tiny", "minilm [sha256:ab]", True),
    ],
)
def test_paths_that_version_0_1_stored_are_compared_by_content(
    key: str, stored: object, current: object, is_change: bool
) -> None:
    assert find_changes({key: stored, "a": 1}, {key: current, "a": 1}) == [key] * is_change


def test_study_that_divided_equal_texts_continues_with_its_key(tmp_path: Path) -> None:
    """Version 0.1.0 did so, and its identity had none of the keys group, order and split_equal_texts."""
    file = write_project(tmp_path / "project")
    rows = "".join(f"text {row // 2},{row % 2}\n" for row in range(80))
    (tmp_path / "project" / "rows" / "train.csv").write_text(f"text,label\n{rows}")
    file.write_text(file.read_text().replace('source = "builtin:reviews"', 'train = "../rows/train.csv"'))
    options = ("data.rows={}", "data.validation=0.25")
    older = load_study(file, (*options, "data.split_equal_texts=true"))
    assert not {key for key in older.identity() if key in ("data.group", "data.order", "data.split_equal_texts")}
    about = load_study_data(older).about()
    study = open_study(open_storage(storage_url(older)), older, "maximize", {"data": about})
    spec = load_study(file, options)
    with pytest.raises(
        StudyError, match=r"restore them, set data.split_equal_texts = true if version 0\.1\.0 started it"
    ):
        check_same_data(study, spec, load_study_data(spec).about())
    check_same_data(study, older, about)
    grouped = load_study(file, (*options, "data.group=label2"))
    with pytest.raises(StudyError, match="data.group: None -> 'label2'"):
        check_same_spec(study, grouped)
