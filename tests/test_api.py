"""hpo.Study in a notebook, compared with the command line, and the public names of the package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

import hpo
import hpo.errors
from hpo.errors import SpecError, StoreError, StudyError
from hpo.evaluation.run_listener import RunListener
from hpo.search.search_listener import SearchListener
from tests.evaluation.conftest import _searched, searched

__all__ = ["_searched", "searched"]  # fixtures


def test_all_steps_in_a_notebook(searched: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = hpo.Study(searched)
    assert "small" in repr(study) and len(study.trials) == 3
    search = study.search(trials=4)  # continues the search of the shell
    assert search.study_name == "small" and list(study.trials["number"]) == [0, 1, 2, 3]
    assert {"value", "params_learning_rate", "effective_learning_rate", "seconds_wall"} <= set(study.trials.columns)
    winner = study.retrain()
    assert winner.values == search.best_params and winner.trial == search.best_trial.number
    assert winner.seed in study.spec.final.seed_list and winner.model_folder == study.spec.model_folder
    baselines = study.baselines("majority", "tfidf-logreg")
    assert set(baselines) == {"majority", "tfidf-logreg"} and all(run.is_complete for run in baselines["majority"])
    comparison = study.compare()
    assert {"majority", "tfidf-logreg"} <= {difference.against for difference in comparison.differences}
    page = study.report()
    assert comparison.verdict in page.with_name("report.md").read_text(encoding="utf8")
    assert study.status().finished == 4
    output = capfd.readouterr()
    assert "#3" in output.err and "seed 1" in output.err and output.out == ""  # progress, as in the shell ...
    assert "finished with value" not in output.err and "%|" not in output.err  # ... and nothing else
    assert hpo.load(study.spec.model_folder).predict(["a film"])[0].label in {"negative", "positive"}

    shell = subprocess.run(
        [sys.executable, "-m", "hpo", "compare", str(searched), "--set", "search.trials=4", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    printed, returned = json.loads(shell.stdout), json.loads(comparison.model_dump_json())
    del printed["test_uses"], returned["test_uses"]  # each comparison is one more use of the test split
    assert printed == returned


def test_a_listener_replaces_the_progress_display(searched: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Ends(SearchListener):
        numbers: list[int] = []

        def ends(self, trial: object, study: object) -> None:
            self.numbers.append(trial.number)  # type: ignore[attr-defined]

    study = hpo.Study(searched, "final.seeds=1")
    study.search(trials=4, listener=Ends())
    study.retrain(listener=RunListener())
    assert Ends.numbers == [3] and capfd.readouterr().err.count("seed") == 0


def test_wrong_input_raises_an_error(small: Path) -> None:
    with pytest.raises(SpecError, match="search.trials"):
        hpo.Study(small, "search.trials=0")
    study = hpo.Study(small)
    with pytest.raises(SpecError, match="search.speed"):
        study.search(speed=2)
    with pytest.raises(StudyError, match="known"):
        study.baselines("svm")
    with pytest.raises(StoreError, match="no store"):
        study.compare()
    with pytest.raises(AttributeError):
        hpo.Trial  # noqa: B018
    assert sorted(small.parent.iterdir()) == [small]


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(hpo.__all__) == ["Study", "__version__", "errors", "load"]
    assert all(getattr(hpo, name) for name in hpo.__all__)
    errors = {name for name in vars(hpo.errors) if name.endswith("Error")}
    tree = {"HpoError", "SpecError", "DataError", "ModelError", "StoreError", "StudyError", "HubError", "TrainingError"}
    assert errors == tree and all(issubclass(getattr(hpo.errors, name), hpo.errors.HpoError) for name in tree)
    public = {name for name in vars(hpo.Study) if not name.startswith("_")}
    methods = {
        "command",
        "search",
        "estimate",
        "retrain",
        "retrain_within",
        "baselines",
        "compare",
        "report",
        "results",
        "stop",
    }
    assert public == methods | {"open_final_runs", "trials", "export", "status"}


def test_optuna_objects_replace_sampler_and_pruner(small: Path) -> None:
    sampler, pruner = optuna.samplers.RandomSampler(seed=7), optuna.pruners.ThresholdPruner(upper=-1.0)
    study = hpo.Study(small, "search.trials=2", sampler=sampler, pruner=pruner).search(listener=SearchListener())
    assert {trial.state.name for trial in study.trials} == {"PRUNED"}
