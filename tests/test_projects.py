"""The five original projects, each by its twin on real reviews and real weights, as the README shows it, but small."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hpo.study.spec import load
from tests.test_cli import shell

STUDIES = Path(__file__).resolve().parents[1] / "studies"
FEW = "data.rows={train=48, validation=24, test=64}"


@pytest.mark.parametrize("project", ["project-a", "project-b", "project-c", "project-d", "project-e"])
def test_its_twin_goes_the_whole_path(project: str, tmp_path: Path, shared: Path) -> None:
    for folder in ("studies", "search_spaces"):
        shutil.copytree(STUDIES.parent / folder, tmp_path / folder, ignore=shutil.ignore_patterns("store*"))
    file = f"studies/{project}.toml"
    overrides = [f"data.source={shared}/data/imdb", f"model.checkpoint={shared}/models/minilm-l6-sst2", FEW]
    overrides += ["model.max_length=32", "final.seeds=1", "training.per_device_train_batch_size=8"]
    words = [word for each in overrides for word in ("--set", each)]
    done = shell("run", file, "--trials", "1", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    spec = load(tmp_path / file)
    said = done.stdout
    assert "verdict: " in said and "1 of 1 trials finished (1 complete)" in said
    assert all(f"\n{name} " in said for name in ["winner", *spec.final.baselines])
    compared = json.loads(shell("compare", file, "--json", *words, folder=tmp_path).stdout)
    recipe = next(system for system in compared["systems"] if system["system"] == "recipe")
    assert recipe["values"] == spec.space.known_good[0].values
    answer = shell("predict", file, "a wonderful, moving film", folder=tmp_path)
    assert answer.returncode == 0 and answer.stdout.split()[0] in {"0", "1"}, answer.stderr
