"""hpo.Study: what a notebook does, on a small study, with what the shell would say of it beside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import hpo
from hpo.errors import SpecError, StoreError, StudyError
from hpo.evaluation.run_listener import RunListener
from hpo.search.search_listener import SearchListener
from tests.evaluation.conftest import _searched, searched

__all__ = ["_searched", "searched"]  # fixtures


def test_the_whole_path_in_a_notebook(searched: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = hpo.Study(searched)
    assert "small" in repr(study) and len(study.trials) == 3
    search = study.search(trials=4)  # goes on where the shell stopped
    assert search.study_name == "small" and list(study.trials["number"]) == [0, 1, 2, 3]
    assert {"value", "params_learning_rate", "effective_learning_rate", "seconds_wall"} <= set(study.trials.columns)
    best, run = study.retrain()
    assert best.values == search.best_params and run.user_attrs["system"] == best.system
    assert set(study.baselines("majority", "tfidf-logreg")) == {"majority", "tfidf-logreg"}
    found = study.compare()
    assert {"majority", "tfidf-logreg"} <= {row["against"] for row in found["differences"]}
    page = study.report()
    assert found["verdict"] in page.with_name("report.md").read_text(encoding="utf8")
    assert study.status()["finished"] == 4
    said = capfd.readouterr()
    assert "#3" in said.err and "seed 1" in said.err and said.out == ""  # progress, as in the shell ...
    assert "finished with value" not in said.err and "%|" not in said.err  # ... and nothing else
    assert hpo.load(study.spec.model_folder).predict(["a film"])[0].label in {"negative", "positive"}

    shell = subprocess.run(
        [sys.executable, "-m", "hpo", "compare", str(searched), "--set", "search.trials=4", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(shell.stdout)
    del told["test_uses"], found["test_uses"]  # each look at the test split is one more
    assert told == found


def test_a_listener_hears_instead_of_the_screen(searched: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Ends(SearchListener):
        numbers: list[int] = []

        def ends(self, trial: object, study: object) -> None:
            self.numbers.append(trial.number)  # type: ignore[attr-defined]

    study = hpo.Study(searched, "final.seeds=1")
    study.search(trials=4, listener=Ends())
    study.retrain(listener=RunListener())
    assert Ends.numbers == [3] and capfd.readouterr().err.count("seed") == 0


def test_a_mistake_is_an_error_that_says_what_to_do(small: Path) -> None:
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
