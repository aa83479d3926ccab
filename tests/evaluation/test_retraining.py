"""Retraining: each run is stored with all its scores, none is repeated, and no choice depends on the test split."""

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
from hpo.data.splits import load_splits
from hpo.errors import StudyError, TrainingError
from hpo.evaluation import scores, sealed_split
from hpo.evaluation.comparison import compare_study
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.predictions import read_predictions
from hpo.evaluation.retraining import retrain
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.sealed_split import SealedTestSplit
from hpo.evaluation.winner import SELECTION_SEED_OFFSET, Candidate, choose_by_validation, select_candidates
from hpo.store.row_hashes import read_row_hashes
from hpo.store.storage import find_study, open_artifact_store, open_storage, storage_url
from hpo.study.spec import StudySpec, load_study
from hpo.training import checkpoint
from hpo.training.model_folder import ModelInfo, read_model_info
from hpo.training.trainer import RungTrainer
from tests.evaluation.conftest import FINAL, RecordingListener

BOTH = 'final.train_on="train+validation"'


def run_retrain(
    file: Path, *overrides: str, seed: int | None = None, listener: RunListener | None = None
) -> tuple[Candidate, FrozenTrial]:
    spec = load_study(file, overrides)
    with open_final_runs(spec, storage_url(spec), listener or RunListener()) as final:
        return retrain(final, seed)


def companion(spec: StudySpec) -> optuna.Study:
    study = find_study(open_storage(storage_url(spec)), "small/final")
    assert study
    return study


def complete(file: Path) -> list[FrozenTrial]:
    return companion(load_study(file)).get_trials(states=(TrialState.COMPLETE,))


def model_info(file: Path) -> ModelInfo:
    return read_model_info(file.parent / "small" / "model")


def test_each_seed_is_a_trial_of_the_companion_study_with_all_scores(searched: Path) -> None:
    run_retrain(searched)
    spec = load_study(searched)
    best = optuna.load_study(study_name="small", storage=storage_url(spec)).best_trial
    trials = complete(searched)
    assert [trial.user_attrs["seed"] for trial in trials] == [0, 1]
    for trial in trials:
        attributes = trial.user_attrs
        assert trial.params == best.params and trial.value == attributes["validation"]["metrics"]["accuracy"]
        assert (
            attributes["effective"]["learning_rate"] == best.params["learning_rate"] and attributes["metrics"]["1000"]
        )
        assert (
            attributes["test"]["metrics"]["f1_macro"] >= 0
            and attributes["test"]["per_class"]["positive"]["support"] > 150
        )
        assert {"wall", "train", "evaluation", "fit", "predict"} <= attributes["seconds"].keys()
        assert (
            attributes["examples_per_second"] > 0
            and attributes["steps_per_second"] > 0
            and attributes["peak_memory"] > 1e7
        )
        assert attributes["provenance"]["spec_hash"] == spec.hash() and attributes["trained_on"] == "train"
        table = read_predictions(trial, companion(spec)._storage, open_artifact_store(storage_url(spec), spec))
        assert table is not None
        assert list(table["row"]) == list(range(400)) and np.allclose(table.filter(like="probability").sum(axis=1), 1)
        right = (table["label"] == table["predicted"]).mean()
        assert right == attributes["test"]["metrics"]["accuracy"]
    assert trials[0].user_attrs["metrics"] != trials[1].user_attrs["metrics"], "both seeds gave the same run"


def test_saved_model_predicts_what_its_run_predicted(searched: Path) -> None:
    _, run = run_retrain(searched)
    spec = load_study(searched)
    assert model_info(searched).made["run"]["seed"] == run.user_attrs["seed"]
    assert run.value == max(trial.value or 0 for trial in complete(searched))
    table = read_predictions(run, companion(spec)._storage, open_artifact_store(storage_url(spec), spec))
    assert table is not None
    test = load_splits(spec.data, searched.parent).test
    assert test
    predictions = hpo.load(searched.parent / "small" / "model").predict(test.texts)
    assert np.allclose([each.probabilities["positive"] for each in predictions], table["probability_1"], atol=1e-6)
    assert not list((searched.parent / "small").glob("retrained*"))


def test_stored_runs_are_not_trained_again(
    searched: Path, listener: RecordingListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_retrain(searched)
    monkeypatch.setattr(RungTrainer, "run", lambda *_: pytest.fail("trained again"))
    before = (searched.parent / "small/model/model.safetensors").stat().st_mtime_ns
    run_retrain(searched, listener=listener)
    assert listener.reused == [0, 1] and not listener.started
    assert (searched.parent / "small/model/model.safetensors").stat().st_mtime_ns == before


def test_interrupted_retrain_continues_with_the_missing_runs(
    searched: Path, listener: RecordingListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = RungTrainer.run

    def stopped(self: RungTrainer, values: Any, seed: int, *others: Any) -> Any:
        if seed == 1:
            raise KeyboardInterrupt
        return train(self, values, seed, *others)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RungTrainer, "run", stopped)
        run_retrain(searched)
    assert not (searched.parent / "small" / "model").exists()
    best, _ = run_retrain(searched, listener=listener)
    assert listener.started == [(best.system, 1)] and listener.reused == [0]
    states = [trial.state.name for trial in companion(load_study(searched)).get_trials()]
    assert states == ["COMPLETE", "FAIL", "COMPLETE"]


def test_killed_retrain_continues_with_the_missing_runs(searched: Path, listener: RecordingListener) -> None:
    """A real process, killed while it trains its second seed of three."""
    overrides = ("final.seeds=3", "final.top_k=1")
    arguments = [word for override in overrides for word in ("--set", override)]
    with subprocess.Popen([sys.executable, "-m", "hpo", "retrain", str(searched), *arguments]) as process:
        storage = open_storage(storage_url(load_study(searched)))
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            study = find_study(storage, "small/final")
            if study and len(study.get_trials(states=(TrialState.COMPLETE,))) >= 1:
                break
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    survivors = len(complete(searched))
    run_retrain(searched, *overrides, listener=listener)
    assert len(listener.reused) == survivors and len(listener.started) == 3 - survivors
    assert (searched.parent / "small" / "model" / "recipe.json").exists()


def test_named_seed_is_deployed_and_trained_again_if_its_weights_were_not_kept(
    searched: Path, listener: RecordingListener
) -> None:
    _, best = run_retrain(searched)
    other = 1 - best.user_attrs["seed"]
    _, run = run_retrain(searched, seed=other, listener=listener)
    assert run.user_attrs["seed"] == other == model_info(searched).made["run"]["seed"]
    assert f"seed {other}: its weights were not kept" in listener.notices[-1] and len(complete(searched)) == 2
    with pytest.raises(StudyError, match="seed 7 is none of the final seeds of this study: 0, 1"):
        run_retrain(searched, seed=7)


def test_failed_save_leaves_no_partial_model(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = checkpoint.save_model

    def broken(*args: Any) -> None:
        save(*args)
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr("hpo.training.model_folder.save_model", broken)
        run_retrain(searched)
    assert not [
        file
        for file in (searched.parent / "small").rglob("*")
        if file.is_file() and "best" not in str(file) and not file.name.startswith(".")
    ]
    run_retrain(searched)
    assert model_info(searched).labels == ["negative", "positive"]


def test_the_k_best_are_retrained_and_validation_decides(searched: Path) -> None:
    best, _ = run_retrain(searched, "final.top_k=2")
    trials = complete(searched)
    first_two = select_candidates(optuna.load_study(study_name="small", storage=storage_url(load_study(searched))), 2)
    choosing = [trial for trial in trials if trial.user_attrs["seed"] >= SELECTION_SEED_OFFSET]
    assert {trial.user_attrs["system"] for trial in choosing} == {each.system for each in first_two}
    assert len(choosing) == 4 and not any("test" in trial.user_attrs for trial in choosing)
    means = {
        each.trial: np.mean([trial.value for trial in choosing if trial.user_attrs["system"] == each.system])
        for each in first_two
    }
    assert best.trial == max(means, key=lambda trial: means[trial])
    compared = [trial for trial in trials if trial not in choosing]
    assert [(trial.user_attrs["system"], trial.user_attrs["seed"]) for trial in compared] == [
        (best.system, 0),
        (best.system, 1),
    ], "the runs that chose the winner are not the ones that it is compared by"


def test_choice_depends_on_validation_only() -> None:
    assert choose_by_validation({3: [0.8, 0.9], 5: [0.9, 0.9]}, "maximize") == 5
    assert choose_by_validation({3: [0.8, 0.9], 5: [0.9, 0.9]}, "minimize") == 3
    assert choose_by_validation({3: [0.5], 5: [0.5]}, "maximize") == 3


def test_test_labels_do_not_change_what_is_chosen(
    searched: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every test label inverted, the same trial wins and the same seed is deployed, bit for bit."""
    import shutil

    inverted_copy = tmp_path_factory.mktemp("inverted") / "study"
    shutil.copytree(searched.parent, inverted_copy)
    plain, run = run_retrain(searched, "final.top_k=2")
    seal = SealedTestSplit.__init__

    def invert(self: SealedTestSplit, split: Any, *rest: Any) -> None:
        seal(self, split, *rest)
        self._labels = 1 - self._labels

    monkeypatch.setattr(SealedTestSplit, "__init__", invert)
    other, other_run = run_retrain(inverted_copy / "small.toml", "final.top_k=2")
    scored = [each.user_attrs["test"]["metrics"]["accuracy"] for each in (run, other_run)]
    assert sum(scored) == pytest.approx(1), "the labels were not inverted"
    assert (other.trial, other_run.number, other_run.value) == (plain.trial, run.number, run.value)
    weights = [file / "small/model/model.safetensors" for file in (searched.parent, inverted_copy)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_models_get_a_test_split_without_labels(searched: Path) -> None:
    spec = load_study(searched)
    with open_final_runs(spec, storage_url(spec), RunListener()) as final:
        assert final.held_out and set(final.held_out.blind.labels) == {0}
        assert final.data.test is None
        assert len(final.held_out.blind) == 400


def test_ledger_records_each_use_of_the_test_split_before_it_is_scored(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = scores.score_run

    def crash(labels: Any, *rest: Any) -> Any:
        if len(labels) == 400:
            raise RuntimeError("crash")
        return score(labels, *rest)

    with monkeypatch.context() as patch, pytest.raises(TrainingError, match="seed 0: RuntimeError: crash"):
        patch.setattr("hpo.evaluation.scores.score_run", crash)
        run_retrain(searched)
    spec = load_study(searched)
    (entry,) = sealed_split.list_uses(companion(spec))
    assert entry.spec_hash == spec.hash() and "seed 0" in entry.command and entry.run == 0
    run_retrain(searched)
    compare_study(spec, storage_url(spec))
    entries = sealed_split.list_uses(companion(spec))
    assert [entry.run for entry in entries] == [0, 1, 2, None] and entries[-1].command.startswith("compare")
    assert [entry.when for entry in entries] == sorted(entry.when for entry in entries)
    assert sealed_split.find_reuse(companion(spec), entries[0].test).uses == {}
    assert len(read_row_hashes(companion(spec).user_attrs)) == 400


def test_training_on_validation_is_recorded_everywhere(searched: Path) -> None:
    _, run = run_retrain(searched, BOTH)
    assert run.user_attrs["trained_on"] == "train+validation" and run.user_attrs["seed"] == 0
    assert run.user_attrs["examples"] == 128 and model_info(searched).made["run"]["train_on"] == "train+validation"
    spec = load_study(searched, (BOTH,))
    result = compare_study(spec, storage_url(spec))
    assert result.trained_on == "train+validation" and result.systems[0].validation is None
    assert result.generalization.validation is None and result.generalization.test.values


def test_another_train_on_needs_other_runs(searched: Path) -> None:
    run_retrain(searched)
    run_retrain(searched, BOTH)
    assert len(complete(searched)) == 4
    assert {trial.user_attrs["examples"] for trial in complete(searched)} == {96, 128}


def test_missing_search_and_runs_are_errors_that_name_the_command(small: Path, searched: Path) -> None:
    other = searched.with_name("other.toml")
    other.write_text(searched.read_text().replace('"small"', '"other"'))
    with pytest.raises(StudyError, match="no study 'other' in the store; `hpo search"):
        run_retrain(other)
    spec = load_study(searched)
    with pytest.raises(StudyError, match="has nothing to compare yet; run `hpo retrain"):
        compare_study(spec, storage_url(spec))
    run_retrain(searched)
    more = load_study(searched, ("final.seeds=3",))
    with pytest.raises(StudyError, match="one of the best trials, has 2 of 3 final runs"):
        compare_study(more, storage_url(more))


def test_only_one_process_makes_final_runs(searched: Path) -> None:
    spec = load_study(searched)
    with open_final_runs(spec, storage_url(spec), RunListener()):
        code = "from hpo.evaluation import final_runs\nfrom hpo.study.spec import load_study\n"
        code += f"study = load_study({str(searched)!r})\nlistener = final_runs.RunListener()\n"
        code += f"with final_runs.open_final_runs(study, {storage_url(spec)!r}, listener): pass"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode and "another process is making its final runs" in done.stderr


def test_without_a_test_split_there_are_runs_but_no_comparison(tmp_path: Path, listener: RecordingListener) -> None:
    rows = "".join(f"{text},{label}\n" for text, label in [("a good film", 1), ("a bad film", 0)] * 40)
    (tmp_path / "rows.csv").write_text(f"text,label\n{rows}")
    file = tmp_path / "small.toml"
    text = FINAL.replace('source = "builtin:reviews"', 'train = "rows.csv"')
    file.write_text(
        text.replace("rows = { train = 96, validation = 32, test = 400 }\n", "").replace("trials = 3", "trials = 1")
    )
    spec = load_study(file)
    from hpo.search.engines import run_search
    from hpo.search.search_listener import SearchListener

    run_search(spec, storage_url(spec), SearchListener())
    run_retrain(file, listener=listener)
    assert any("no test split" in each for each in listener.notices)
    assert all("test" not in trial.user_attrs for trial in complete(file)) and json.dumps(model_info(file).made)
    with pytest.raises(StudyError, match="a comparison needs a test split"):
        compare_study(spec, storage_url(spec))
