"""The best trial trained anew: every run stored whole, none made twice, and nothing chosen on test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

import hpo
from hpo.errors import StudyError, TrainingError
from hpo.evaluation import sealed_split
from hpo.evaluation.comparison import compare_study
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.predictions import read_predictions
from hpo.evaluation.retraining import Candidate, choose_by_validation, retrain, select_candidates
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.sealed_split import SealedTestSplit
from hpo.store.storage import find_study, open_artifact_store, open_storage, storage_url
from hpo.study.spec import StudySpec, load_study
from hpo.training import checkpoint
from hpo.training.model_folder import ModelInfo, read_model_info
from hpo.training.trainer import RungTrainer

BOTH = 'final.train_on="train+validation"'


def made(
    file: Path, *overrides: str, seed: int | None = None, listener: RunListener | None = None
) -> tuple[Candidate, FrozenTrial]:
    spec = load_study(file, overrides)
    with open_final_runs(spec, storage_url(spec), listener or RunListener()) as final:
        return retrain(final, seed)


def companion(spec: StudySpec) -> optuna.Study:
    found = find_study(open_storage(storage_url(spec)), "small/final")
    assert found
    return found


def complete(file: Path) -> list[FrozenTrial]:
    return companion(load_study(file)).get_trials(states=(TrialState.COMPLETE,))


def recipe(file: Path) -> ModelInfo:
    return read_model_info(file.parent / "small" / "model")


def test_each_seed_is_a_trial_of_the_companion_study_with_all_that_it_was(searched: Path) -> None:
    made(searched)
    spec = load_study(searched)
    best = optuna.load_study(study_name="small", storage=storage_url(spec)).best_trial
    found = complete(searched)
    assert [trial.user_attrs["seed"] for trial in found] == [0, 1]
    for trial in found:
        known = trial.user_attrs
        assert trial.params == best.params and trial.value == known["validation"]["metrics"]["accuracy"]
        assert known["effective"]["learning_rate"] == best.params["learning_rate"] and known["metrics"]["1000"]
        assert known["test"]["metrics"]["f1_macro"] >= 0 and known["test"]["per_class"]["positive"]["support"] > 150
        assert {"wall", "train", "evaluation", "fit", "predict"} <= known["seconds"].keys()
        assert known["examples_per_second"] > 0 and known["steps_per_second"] > 0 and known["peak_memory"] > 1e7
        assert known["provenance"]["spec_hash"] == spec.hash() and known["trained_on"] == "train"
        table = read_predictions(trial, companion(spec)._storage, open_artifact_store(storage_url(spec), spec))
        assert list(table["row"]) == list(range(400)) and np.allclose(table.filter(like="probability").sum(axis=1), 1)
        right = (table["label"] == table["predicted"]).mean()
        assert right == known["test"]["metrics"]["accuracy"]
    assert found[0].user_attrs["metrics"] != found[1].user_attrs["metrics"], "two seeds, one run"


def test_the_model_folder_predicts_what_its_run_predicted(searched: Path) -> None:
    _, run = made(searched)
    spec = load_study(searched)
    assert recipe(searched).made["run"]["seed"] == run.user_attrs["seed"]
    assert run.value == max(trial.value or 0 for trial in complete(searched))
    table = read_predictions(run, companion(spec)._storage, open_artifact_store(storage_url(spec), spec))
    from hpo.data.splits import load_splits

    test = load_splits(spec.data, searched.parent).test
    assert test
    answers = hpo.load(searched.parent / "small" / "model").predict(test.texts)
    assert np.allclose([each.probabilities["positive"] for each in answers], table["probability_1"], atol=1e-6)
    assert not list((searched.parent / "small").glob("retrained*"))


def test_nothing_is_trained_twice(searched: Path, heard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made(searched)
    monkeypatch.setattr(RungTrainer, "run", lambda *_: pytest.fail("trained again"))
    before = (searched.parent / "small/model/model.safetensors").stat().st_mtime_ns
    made(searched, listener=heard)
    assert heard.found == [0, 1] and not heard.made
    assert (searched.parent / "small/model/model.safetensors").stat().st_mtime_ns == before


def test_an_interrupted_retrain_goes_on_with_what_is_missing(
    searched: Path, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = RungTrainer.run

    def stopped(self: RungTrainer, values: Any, seed: int, output: str = "") -> Any:
        if seed == 1:
            raise KeyboardInterrupt
        return train(self, values, seed, output)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RungTrainer, "run", stopped)
        made(searched)
    assert not (searched.parent / "small" / "model").exists()
    best, _ = made(searched, listener=heard)
    assert heard.made == [(best.system, 1)] and heard.found == [0]
    endings = [trial.state.name for trial in companion(load_study(searched)).get_trials()]
    assert endings == ["COMPLETE", "FAIL", "COMPLETE"]


def test_a_killed_retrain_goes_on_with_what_is_missing(searched: Path, heard: Any) -> None:
    """A real process, killed while it trains its second seed of three."""
    overrides = ("final.seeds=3", "final.top_k=1")
    words = [word for each in overrides for word in ("--set", each)]
    with subprocess.Popen([sys.executable, "-m", "hpo", "retrain", str(searched), *words]) as process:
        storage = open_storage(storage_url(load_study(searched)))
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            study = find_study(storage, "small/final")
            if study and len(study.get_trials(states=(TrialState.COMPLETE,))) >= 1:
                break
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    kept = len(complete(searched))
    made(searched, *overrides, listener=heard)
    assert len(heard.found) == kept and len(heard.made) == 3 - kept
    assert (searched.parent / "small" / "model" / "recipe.json").exists()


def test_a_named_seed_is_deployed_and_trained_once_more_where_its_weights_are_gone(searched: Path, heard: Any) -> None:
    _, best = made(searched)
    other = 1 - best.user_attrs["seed"]
    _, run = made(searched, seed=other, listener=heard)
    assert run.user_attrs["seed"] == other == recipe(searched).made["run"]["seed"]
    assert f"seed {other} were not kept" in heard.notices[-1] and len(complete(searched)) == 2
    with pytest.raises(StudyError, match="seed 7 is none of the final seeds of this study: 0, 1"):
        made(searched, seed=7)


def test_half_a_model_is_never_there(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = checkpoint.save_model

    def broken(*args: Any) -> None:
        save(*args)
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr("hpo.training.model_folder.save_model", broken)
        made(searched)
    assert not [
        each
        for each in (searched.parent / "small").rglob("*")
        if each.is_file() and "best" not in str(each) and not each.name.startswith(".")
    ]
    made(searched)
    assert recipe(searched).labels == ["negative", "positive"]


def test_the_k_best_are_retrained_and_validation_alone_decides(searched: Path) -> None:
    best, _ = made(searched, "final.top_k=2")
    found = complete(searched)
    first_two = select_candidates(optuna.load_study(study_name="small", storage=storage_url(load_study(searched))), 2)
    assert {trial.user_attrs["system"] for trial in found} == {each.system for each in first_two} and len(found) == 4
    means = {
        each.trial: np.mean([trial.value for trial in found if trial.user_attrs["system"] == each.system])
        for each in first_two
    }
    assert best.trial == max(means, key=lambda trial: means[trial])


def test_choosing_knows_validation_only() -> None:
    assert choose_by_validation({3: [0.8, 0.9], 5: [0.9, 0.9]}, "maximize") == 5
    assert choose_by_validation({3: [0.8, 0.9], 5: [0.9, 0.9]}, "minimize") == 3
    assert choose_by_validation({3: [0.5], 5: [0.5]}, "maximize") == 3


def test_test_labels_change_nothing_that_is_chosen(
    searched: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every test label turned round, the same trial wins and the same seed is deployed, bit for bit."""
    import shutil

    turned = tmp_path_factory.mktemp("turned") / "study"
    shutil.copytree(searched.parent, turned)
    plain, run = made(searched, "final.top_k=2")
    seal = SealedTestSplit.__init__

    def inverted(self: SealedTestSplit, split: Any, *rest: Any) -> None:
        seal(self, split, *rest)
        self._labels = 1 - self._labels

    monkeypatch.setattr(SealedTestSplit, "__init__", inverted)
    other, other_run = made(turned / "small.toml", "final.top_k=2")
    scored = [each.user_attrs["test"]["metrics"]["accuracy"] for each in (run, other_run)]
    assert sum(scored) == pytest.approx(1), "the labels were not turned round"
    assert (other.trial, other_run.number, other_run.value) == (plain.trial, run.number, run.value)
    weights = [file / "small/model/model.safetensors" for file in (searched.parent, turned)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_models_are_given_a_test_split_without_labels(searched: Path) -> None:
    spec = load_study(searched)
    with open_final_runs(spec, storage_url(spec), RunListener()) as final:
        assert final.held_out and set(final.held_out.blind.labels) == {0}
        assert final.data.test is None
        assert len(final.held_out.blind) == 400


def test_the_ledger_has_each_use_of_the_test_split_before_anything_is_seen(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = sealed_split.score_run

    def crash(labels: Any, *rest: Any) -> Any:
        if len(labels) == 400:
            raise RuntimeError("crash")
        return score(labels, *rest)

    with monkeypatch.context() as patch, pytest.raises(TrainingError, match="seed 0: RuntimeError: crash"):
        patch.setattr("hpo.evaluation.sealed_split.score_run", crash)
        made(searched)
    spec = load_study(searched)
    (entry,) = sealed_split.list_uses(companion(spec))
    assert entry["spec_hash"] == spec.hash() and "seed 0" in entry["command"] and entry["run"] == 0
    made(searched)
    compare_study(spec, storage_url(spec))
    entries = sealed_split.list_uses(companion(spec))
    assert [each["run"] for each in entries] == [0, 1, 2, None] and entries[-1]["command"].startswith("compare")
    assert [each["when"] for each in entries] == sorted(each["when"] for each in entries)
    assert sealed_split.count_uses_elsewhere(companion(spec), entries[0]["test"]) == {}


def test_train_and_validation_together_are_said_everywhere(searched: Path) -> None:
    _, run = made(searched, BOTH)
    assert run.user_attrs["trained_on"] == "train+validation" and run.user_attrs["seed"] == 0
    assert run.user_attrs["examples"] == 128 and recipe(searched).made["run"]["train_on"] == "train+validation"
    spec = load_study(searched, (BOTH,))
    found = compare_study(spec, storage_url(spec))
    assert found["trained_on"] == "train+validation"
    assert found["optimism"]["validation"] is None and found["optimism"]["test"]


def test_another_train_on_makes_other_runs(searched: Path) -> None:
    made(searched)
    made(searched, BOTH)
    assert len(complete(searched)) == 4
    assert {trial.user_attrs["examples"] for trial in complete(searched)} == {96, 128}


def test_what_is_missing_is_told(small: Path, searched: Path) -> None:
    other = searched.with_name("other.toml")
    other.write_text(searched.read_text().replace('"small"', '"other"'))
    with pytest.raises(StudyError, match="no study 'other' in the store; `hpo search"):
        made(other)
    spec = load_study(searched)
    with pytest.raises(StudyError, match="has nothing to compare yet; `hpo retrain"):
        compare_study(spec, storage_url(spec))
    made(searched)
    more = load_study(searched, ("final.seeds=3",))
    with pytest.raises(StudyError, match="2 of 3 fresh runs of trial #"):
        compare_study(more, storage_url(more))


def test_one_process_at_a_time(searched: Path) -> None:
    spec = load_study(searched)
    with open_final_runs(spec, storage_url(spec), RunListener()):
        code = "from hpo.evaluation import final_runs\nfrom hpo.study.spec import load_study\n"
        code += f"study = load_study({str(searched)!r})\nlistener = final_runs.RunListener()\n"
        code += f"with final_runs.open_final_runs(study, {storage_url(spec)!r}, listener): pass"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode and "another process is making its final runs" in done.stderr


def test_without_a_test_split_there_are_runs_but_no_verdict(tmp_path: Path, heard: Any) -> None:
    rows = "".join(f"{text},{label}\n" for text, label in [("a good film", 1), ("a bad film", 0)] * 40)
    (tmp_path / "rows.csv").write_text(f"text,label\n{rows}")
    file = tmp_path / "small.toml"
    from tests.evaluation.conftest import FINAL

    text = FINAL.replace('source = "builtin:reviews"', 'train = "rows.csv"')
    file.write_text(
        text.replace("rows = { train = 96, validation = 32, test = 400 }\n", "").replace("trials = 3", "trials = 1")
    )
    spec = load_study(file)
    from hpo.search.engines import run_search
    from hpo.search.search_listener import SearchListener

    run_search(spec, storage_url(spec), SearchListener())
    made(file, listener=heard)
    assert any("no test split" in each for each in heard.notices)
    assert all("test" not in trial.user_attrs for trial in complete(file)) and json.dumps(recipe(file).made)
    with pytest.raises(StudyError, match="without a test split there is no verdict"):
        compare_study(spec, storage_url(spec))
