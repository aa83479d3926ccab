"""The five original projects, each by its twin on real reviews and real weights, as the README shows it, but small."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas
import pytest

import hpo
from hpo.evaluation.comparison import compare_study
from hpo.store.storage import default_storage_url
from hpo.study.spec import load_study
from tests.test_cli import shell

STUDIES = Path(__file__).resolve().parents[1] / "studies"
FEW = "data.rows={train=48, validation=24, test=64}"


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A folder laid out as ../shared/data/imdb is, with the first of its reviews of either label."""
    folder = tmp_path_factory.mktemp("imdb")
    for split in ("train", "test"):
        table = pandas.read_parquet(shared / f"data/imdb/{split}.parquet")
        table.groupby("label").head(300).to_parquet(folder / f"{split}.parquet")
    return folder


@pytest.mark.parametrize("project", ["project-a", "project-b", "project-c", "project-d", "project-e"])
def test_its_twin_goes_the_whole_path(project: str, tmp_path: Path, shared: Path, reviews: Path) -> None:
    for name in (f"studies/{project}.toml", "search_spaces/finetune.toml"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(STUDIES.parent / name, tmp_path / name)
    file = f"studies/{project}.toml"
    overrides = [f"data.source={reviews}", f"model.checkpoint={shared}/models/minilm-l6-sst2", FEW]
    overrides += ["model.max_length=32", "final.seeds=1", "training.per_device_train_batch_size=8"]
    words = [word for each in overrides for word in ("--set", each)]
    done = shell("run", file, "--trials", "1", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    spec = load_study(tmp_path / file)
    said = done.stdout
    assert "verdict: " in said and "1 of 1 trials finished (1 complete)" in said
    assert all(f"\n{name} " in said for name in ["winner", *spec.final.baselines])
    found = compare_study(load_study(tmp_path / file, tuple(overrides)), default_storage_url(tmp_path / "studies"))
    recipe = next(system for system in found["systems"] if system["system"] == "recipe")
    assert recipe["values"] == spec.space.known_good[0].values
    assert set(hpo.load(tmp_path / "studies" / project / "model").predict(["a moving film"])[0].probabilities) == {
        "0",
        "1",
    }
