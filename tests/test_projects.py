"""The five published projects run from search to verdict on real reviews and weights, as docs/projects.md shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas
import pytest

import hpo
from hpo.evaluation.comparison import compare_study
from hpo.store.storage import default_storage_url
from hpo.study.spec import load_study
from tests.test_cli import run_shell

ROOT = Path(__file__).resolve().parents[1]
FEW_ROWS = "data.rows={train=48, validation=24, test=64}"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A folder laid out as ../shared/data/imdb, with the first 300 reviews of each label."""
    folder = tmp_path_factory.mktemp("imdb")
    for split in ("train", "test"):
        table = pandas.read_parquet(shared / f"data/imdb/{split}.parquet")
        table.groupby("label").head(300).to_parquet(folder / f"{split}.parquet")
    return folder


@pytest.mark.parametrize("project", ["project-a", "project-b", "project-c", "project-d", "project-e"])
def test_project_runs_from_search_to_verdict(project: str, tmp_path: Path, shared: Path, reviews: Path) -> None:
    for name in (f"studies/{project}.toml", "search_spaces/finetune.toml"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    file = f"studies/{project}.toml"
    overrides = [f"data.source={reviews}", f"model.checkpoint={shared}/models/minilm-l6-sst2", FEW_ROWS]
    overrides += ["model.max_length=32", "final.seeds=1", "training.per_device_train_batch_size=8"]
    options = [argument for override in overrides for argument in ("--set", override)]
    done = run_shell("run", file, "--trials", "1", *options, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "verdict: " in done.stdout and "1 of 1 trials finished (1 complete)" in done.stdout
    spec = load_study(tmp_path / file)
    assert all(f"\n{name} " in done.stdout for name in ["winner", *spec.final.baselines])
    comparison = compare_study(load_study(tmp_path / file, tuple(overrides)), default_storage_url(tmp_path / "studies"))
    assert comparison.system("recipe").values == spec.space.known_good[0].values
    (prediction,) = hpo.load(tmp_path / "studies" / project / "model").predict(["a moving film"])
    assert set(prediction.probabilities) == {"0", "1"}
