"""Baselines: run on the same rows as the winner, stored like its runs, never run twice, and open to plug-ins."""

from __future__ import annotations

import inspect
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from hpo.errors import HpoError, StudyError, TrainingError
from hpo.evaluation import baselines, stored_systems
from hpo.evaluation.baselines import BASELINES, Baseline, baseline_names, check_baselines, find_baseline, run_baselines
from hpo.evaluation.comparison import compare_study
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.predictions import read_predictions
from hpo.evaluation.retraining import retrain
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.text_baselines import TEXT_BASELINES
from hpo.store.run_record import RunRecord
from hpo.store.storage import find_study, open_artifact_store, open_storage, storage_url
from hpo.study.spec import load_study
from hpo.study.spec_tables import BASELINES as DEFAULT_BASELINES
from tests.evaluation.conftest import FINAL, RecordingListener

CHARACTER_COUNTS = Baseline(baselines.fit_text_baseline)  # what the stand-in for an installed package provides


def run(file: Path, *names: str, listener: RunListener | None = None) -> dict[str, list[FrozenTrial]]:
    spec = load_study(file)
    with open_final_runs(spec, storage_url(spec), listener or RunListener()) as final:
        return run_baselines(final, names)


def records(file: Path, name: str) -> list[RunRecord]:
    return [RunRecord.from_trial(trial) for trial in run(file, name)[name]]


def test_default_baselines_of_a_study_file_are_those_of_the_table() -> None:
    assert [name for name, baseline in BASELINES.items() if baseline.is_default] == list(DEFAULT_BASELINES)
    assert all(name in BASELINES for name in TEXT_BASELINES)


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_is_stored_like_a_run(name: str, searched: Path) -> None:
    spec = load_study(searched)
    trials = run(searched, name)[name]
    assert len(trials) == (2 if BASELINES[name].is_stochastic else 1)
    for trial in trials:
        record = RunRecord.from_trial(trial)
        assert record.validation and record.test and record.predicted_per_second
        assert record.value == record.validation.metrics["accuracy"]
        assert 0 <= record.test.metrics["accuracy"] <= 1 and record.test.metrics["log_loss"] > 0
        assert record.seconds.fit is not None and record.seconds.fit >= 0 and record.predicted_per_second > 0
        companion = find_study(open_storage(storage_url(spec)), "small/final")
        assert companion
        table = read_predictions(trial, companion._storage, open_artifact_store(storage_url(spec), spec))
        assert table is not None
        assert list(table["row"]) == list(range(400)) and set(table["label"]) == {0, 1}


def test_stored_baselines_are_not_run_again(searched: Path, listener: RecordingListener) -> None:
    first = run(searched, "majority", "tfidf-logreg")
    second = run(searched, "majority", "tfidf-logreg", listener=listener)
    assert not listener.started and [[trial.number for trial in runs] for runs in second.values()] == [[0], [1]]
    assert first.keys() == second.keys()


def test_only_the_rerun_needs_a_search(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(FINAL)
    assert run(file, "majority")["majority"][0].value == 17 / 32  # the share of its first class
    with pytest.raises(HpoError, match="no study 'small' in the store; `hpo search"):
        run(file, "rerun")


def test_recipe_that_won_the_search_is_not_trained_again(searched: Path, listener: RecordingListener) -> None:
    """The first starting point is the best trial of this search, so its runs are the winner's."""
    spec = load_study(searched)
    best = optuna.load_study(study_name="small", storage=storage_url(spec)).best_trial
    assert best.params == spec.space.known_good[0].values
    with open_final_runs(spec, storage_url(spec), listener) as final:
        retrain(final)
        run_baselines(final, ["recipe"])
    assert len(listener.started) == 2 and listener.reused == [0, 1]


def test_recipe_keeps_the_default_of_what_it_leaves_out(searched: Path) -> None:
    text = searched.read_text().replace("[search]", "[space.parameters.weight_decay]\nlow = 0.1\nhigh = 0.3\n[search]")
    searched.write_text(text.replace('"small"', '"other"'))
    trial = run(searched, "recipe")["recipe"][0]
    assert trial.params == {"learning_rate": 1e-3}
    assert RunRecord.from_trial(trial).effective["weight_decay"] == 0.0


def test_pretrained_uses_the_checkpoints_head_or_a_probe_and_records_which(searched: Path, shared: Path) -> None:
    (probe,) = records(searched, "pretrained")
    assert probe.description and probe.description.startswith("a linear probe")
    assert probe.seconds.fit and probe.seconds.fit > 0
    text = (
        searched.read_text().replace("builtin:tiny", str(shared / "models/minilm-l6-sst2")).replace('"small"', '"real"')
    )
    searched.write_text(text)
    (with_head,) = records(searched, "pretrained")
    assert with_head.description == "the checkpoint as it is, with its own head"
    assert with_head.seconds.fit == 0 and (with_head.value or 0) > 0.6
    searched.write_text(text.replace("minilm-l6-sst2", "minilm-l6").replace('"real"', '"headless"'))
    (headless,) = records(searched, "pretrained")
    assert headless.description and headless.description.startswith("a linear probe")


def test_failing_baseline_does_not_keep_the_others_from_running(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(seed: int) -> Any:
        raise MemoryError("no room for the forest")

    monkeypatch.setitem(TEXT_BASELINES, "bow-forest", fail)
    with pytest.raises(TrainingError, match="bow-forest, seed 0: MemoryError: no room for the forest"):
        run(searched, "bow-forest", "majority")
    companion = find_study(open_storage(storage_url(load_study(searched))), "small/final")
    assert companion and [trial.state.name for trial in companion.get_trials()] == ["FAIL", "COMPLETE"]


def test_names_are_checked_before_anything_runs(searched: Path) -> None:
    spec = load_study(searched)
    assert baseline_names(spec) == list(spec.final.baselines)
    with pytest.raises(HpoError, match='has "forest"; '):
        baseline_names(load_study(searched, ('final.baselines=["forest"]',)))
    with pytest.raises(HpoError, match="baseline 'nbsvm' is unknown; did you mean nb-svm?"):
        check_baselines(spec, ["nbsvm"])
    without_start = load_study(searched, ("space.known_good=[]",))
    assert "recipe" not in baseline_names(without_start)
    with pytest.raises(HpoError, match="baseline recipe needs a known_good start, of which the search space has none"):
        check_baselines(without_start, ["recipe"])


def install(monkeypatch: pytest.MonkeyPatch, attribute: str) -> None:
    """Make an attribute of this module available as the plug-in baseline `characters`."""
    module = inspect.getmodule(install)
    assert module
    point = EntryPoint("characters", f"{module.__name__}:{attribute}", baselines.ENTRY_POINT_GROUP)
    for reader in (baselines, stored_systems):
        monkeypatch.setattr(reader, "load_entry_points", lambda group: {"characters": point})


def test_baseline_of_an_installed_package_is_run_and_compared(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "CHARACTER_COUNTS")
    monkeypatch.setitem(TEXT_BASELINES, "characters", TEXT_BASELINES["tfidf-logreg"])
    spec = load_study(searched, ('final.baselines=["characters"]',))
    assert baseline_names(spec) == ["characters"]
    with open_final_runs(spec, storage_url(spec), RunListener()) as final:
        retrain(final)
        run_baselines(final, ["characters"])
    assert [each.against for each in compare_study(spec, storage_url(spec)).differences] == ["characters"]
    unnamed = load_study(searched, ("final.baselines=[]",))
    assert [each.system for each in compare_study(unnamed, storage_url(unnamed)).systems] == ["winner", "characters"]


def test_entry_point_that_names_no_baseline_is_an_error(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "FINAL")
    with pytest.raises(StudyError, match="baseline 'characters': .*:FINAL is no hpo.evaluation.baselines.Baseline"):
        find_baseline("characters", load_study(small))
