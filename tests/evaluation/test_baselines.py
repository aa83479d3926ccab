"""Every baseline is a run like the winner's: the same rows, stored whole, made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from hpo.errors import HpoError, TrainingError
from hpo.evaluation.baselines import BASELINES, baseline_names, check_baselines, run_baselines
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.predictions import read_predictions
from hpo.evaluation.retraining import retrain
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.text_baselines import TEXT_BASELINES
from hpo.store.storage import find_study, open_artifact_store, open_storage, storage_url
from hpo.study.spec import load_study
from tests.evaluation.conftest import FINAL


def made(file: Path, *names: str, listener: RunListener | None = None) -> dict[str, list[FrozenTrial]]:
    spec = load_study(file)
    with open_final_runs(spec, storage_url(spec), listener or RunListener()) as final:
        return run_baselines(final, names)


@pytest.mark.parametrize("name", BASELINES)
def test_each_is_stored_like_a_run(name: str, searched: Path) -> None:
    spec = load_study(searched)
    found = made(searched, name)[name]
    assert len(found) == (2 if name in {"recipe", "rerun"} else 1)
    for trial in found:
        known = trial.user_attrs
        assert trial.value == known["validation"]["metrics"]["accuracy"]
        assert 0 <= known["test"]["metrics"]["accuracy"] <= 1 and known["test"]["metrics"]["log_loss"] > 0
        assert known["seconds"]["fit"] >= 0 and known["predicted_per_second"] > 0
        companion = find_study(open_storage(storage_url(spec)), "small/final")
        assert companion
        table = read_predictions(trial, companion._storage, open_artifact_store(storage_url(spec), spec))
        assert list(table["row"]) == list(range(400)) and set(table["label"]) == {0, 1}


def test_none_is_made_twice(searched: Path, heard: Any) -> None:
    first = made(searched, "majority", "tfidf-logreg")
    again = made(searched, "majority", "tfidf-logreg", listener=heard)
    assert not heard.made and [[run.number for run in each] for each in again.values()] == [[0], [1]]
    assert first.keys() == again.keys()


def test_they_need_no_search(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(FINAL)
    assert made(file, "majority")["majority"][0].value == 17 / 32  # the share of its first class
    with pytest.raises(HpoError, match="no study 'small' in the store; `hpo search"):
        made(file, "rerun")


def test_a_recipe_that_won_is_not_trained_again(searched: Path, heard: Any) -> None:
    """The first known-good start is the best trial of this search, so its runs are the winner's."""
    spec = load_study(searched)
    best = optuna.load_study(study_name="small", storage=storage_url(spec)).best_trial
    assert best.params == spec.space.known_good[0].values
    with open_final_runs(spec, storage_url(spec), heard) as final:
        retrain(final)
        run_baselines(final, ["recipe"])
    assert len(heard.made) == 2 and heard.found == [0, 1]


def test_a_recipe_leaves_out_what_it_does_not_say(searched: Path) -> None:
    text = searched.read_text().replace("[search]", "[space.parameters.weight_decay]\nlow = 0.1\nhigh = 0.3\n[search]")
    searched.write_text(text.replace('"small"', '"other"'))
    run = made(searched, "recipe")["recipe"][0]
    assert run.params == {"learning_rate": 1e-3} and run.user_attrs["effective"]["weight_decay"] == 0.0


def test_pretrained_is_the_checkpoint_as_it_is_or_a_probe_and_says_which(searched: Path, shared: Path) -> None:
    (probe,) = made(searched, "pretrained")["pretrained"]
    assert probe.user_attrs["effective"]["as"].startswith("a linear probe")
    assert probe.user_attrs["seconds"]["fit"] > 0
    text = (
        searched.read_text().replace("builtin:tiny", str(shared / "models/minilm-l6-sst2")).replace('"small"', '"real"')
    )
    searched.write_text(text)
    (whole,) = made(searched, "pretrained")["pretrained"]
    assert whole.user_attrs["effective"]["as"] == "the checkpoint as it is, with its own head"
    assert whole.user_attrs["seconds"]["fit"] == 0 and (whole.value or 0) > 0.6
    searched.write_text(text.replace("minilm-l6-sst2", "minilm-l6").replace('"real"', '"headless"'))
    (headless,) = made(searched, "pretrained")["pretrained"]
    assert headless.user_attrs["effective"]["as"].startswith("a linear probe")


def test_one_that_fails_does_not_keep_the_others_from_being_made(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(seed: int) -> Any:
        raise MemoryError("no room for the forest")

    monkeypatch.setitem(TEXT_BASELINES, "bow-forest", broken)
    with pytest.raises(TrainingError, match="bow-forest, seed 0: MemoryError: no room for the forest"):
        made(searched, "bow-forest", "majority")
    companion = find_study(open_storage(storage_url(load_study(searched))), "small/final")
    assert companion and [trial.state.name for trial in companion.get_trials()] == ["FAIL", "COMPLETE"]


def test_names_are_known_before_anything_is_made(searched: Path) -> None:
    spec = load_study(searched)
    assert baseline_names(spec) == list(spec.final.baselines)
    with pytest.raises(HpoError, match="has 'forest'; it is unknown"):
        baseline_names(load_study(searched, ('final.baselines=["forest"]',)))
    with pytest.raises(HpoError, match="baseline 'nbsvm' is unknown; did you mean nb-svm?"):
        check_baselines(spec, ["nbsvm"])
    bare = load_study(searched, ("space.known_good=[]",))
    assert "recipe" not in baseline_names(bare)
    with pytest.raises(HpoError, match="the search space names no known_good start"):
        check_baselines(bare, ["recipe"])
