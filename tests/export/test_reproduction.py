"""Who has bundle and data gets the same scores, or is told in what they differ, and nothing runs here unasked."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import optuna
import pytest
import tomli_w

from hpo.cli import main
from hpo.data.splits import load_splits
from hpo.errors import DataError, HpoError, ModelError, SpecError, StudyError, TrainingError
from hpo.evaluation.sealed_split import list_uses
from hpo.export.bundle import STUDY, SeedScores, read_bundle
from hpo.export.formats import export_format
from hpo.export.reproduction import describe_data_difference, judge_reproduction, prediction_interval, reproduce_bundle
from hpo.results.study_results import StudyResults
from hpo.store.storage import default_storage_url, find_study, open_storage
from hpo.study.spec import load_study
from tests.evaluation.conftest import Heard
from tests.support.evaluated_study import judged, record
from tests.support.zip_files import altered, contents

__all__ = ["judged", "record"]


@pytest.fixture
def made(record: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of the small study, in a folder where nothing else is, and where the shell stands."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return export_format(record, "bundle", elsewhere / "small.bundle.zip")


def everything(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def study_of(path: Path) -> dict[str, Any]:
    return tomllib.loads(contents(path)[STUDY].decode())


def test_the_same_machine_gives_the_same_scores(made: Path, record: StudyResults) -> None:
    before = everything(record.spec.folder)
    heard = Heard()
    found = reproduce_bundle(made, listener=heard)
    assert found.reproduced and found.split == "test" and found.same == found.shared == [0, 1]
    assert record.found and found.again == found.before == {
        **record.found["systems"][0]["test"]["accuracy"],
        "seeds": [0, 1],
    }
    assert found.verdict == "reproduced: each seed in common (2) scores the same to the last bit"
    assert heard.made == [("reproduction", 0), ("reproduction", 1)] and not heard.notices
    assert everything(record.spec.folder) == before, "the study itself is left alone"
    spec = load_study("small-reproduced/study.toml")
    storage = open_storage(default_storage_url(Path("small-reproduced")))
    assert find_study(storage, "small") is None, "nothing is searched"
    companion = find_study(storage, "small/final")
    assert companion and len(list_uses(companion)) == 2, "each look at the test labels is in the ledger"
    assert spec.fixed == record.fixed and spec.speed == "exact"
    again = Heard()
    assert reproduce_bundle(made, listener=again) == found and not again.made and len(again.found) == 2


def test_the_shell_says_so(made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def shell(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["hpo", "reproduce", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    code, said = shell(str(made), "--json", "--output", "here")
    told = json.loads(said)
    assert code == 0 and told["reproduced"] and told["verdict"].startswith("reproduced: ")
    wrong = {"mean": 0.99, "sd": 0.001, "values": [0.989, 0.991], "seeds": [0, 1]}
    code, said = shell(str(altered(made, best={"test": wrong})), "--output", "here")
    there, here, verdict = said.splitlines()
    assert code == 1 and there == "there: accuracy 0.9900 +/- 0.0010 on test, seeds 0, 1" and here.startswith("here: ")
    assert verdict.startswith("not reproduced: ") and "lies outside [0.97" in verdict
    assert shell("none.zip")[0] == 2


def test_an_interrupt_loses_no_run(made: Path) -> None:
    class Impatient(Heard):
        def step(self, share: float, what: str) -> None:
            if len(self.made) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce_bundle(made, listener=Impatient())
    heard = Heard()
    found = reproduce_bundle(made, listener=heard)
    assert found.reproduced and len(heard.found) == 1 and heard.made == [("reproduction", 1)]


def test_more_seeds_may_be_asked_for(made: Path) -> None:
    found = reproduce_bundle(made, seeds=1)
    assert found.again["seeds"] == [0] and found.again["sd"] is None and found.reproduced
    heard = Heard()
    found = reproduce_bundle(made, seeds=3, listener=heard)
    assert found.again["seeds"] == [0, 1, 2] and found.shared == [0, 1] and len(heard.made) == 2


def test_other_data_are_told_apart_and_nothing_is_left(made: Path) -> None:
    before = everything(Path())
    for change, words in (
        ("data.seed=1", "96 of 96 rows of train differ, the first in place 1: its text is another"),
        ("data.rows.test=399", "test has 399 rows, there 400"),
        ('data.clean=["lowercase"]', "rows of train differ"),
    ):
        with pytest.raises(DataError, match=words) as told:
            reproduce_bundle(made, [change])
        assert "--set data.source=PATH" in str(told.value) and "fingerprint" in str(told.value)
        assert everything(Path()) == before


def test_data_that_are_not_there_can_be_named(made: Path) -> None:
    raw = study_of(made)
    raw["data"] |= {"source": "/nowhere/reviews.csv"}
    path, heard = altered(made, study=tomli_w.dumps(raw)), Heard()
    before = everything(Path())
    with pytest.raises(DataError, match=r"--set data.source=PATH \(or data.train, data.test\) names the data here"):
        reproduce_bundle(path, listener=heard)
    assert any("data.source is /nowhere/reviews.csv, as the bundle has it" in each for each in heard.notices)
    assert everything(Path()) == before
    assert reproduce_bundle(path, ['data.source="builtin:reviews"'], seeds=1).reproduced


def test_labels_that_differ_are_named(made: Path, record: StudyResults) -> None:
    read, data = read_bundle(made), load_splits(record.spec.data, record.spec.file.parent)
    labels = list(data.train.labels)
    labels[3] = 1 - labels[3]
    other = replace(data, train=replace(data.train, labels=labels))
    names = data.label_names
    assert describe_data_difference(read, other) == (
        f"1 of 96 rows of train differ, the first in place 4: it is {names[labels[3]]!r}, "
        f"there {names[1 - labels[3]]!r}"
    )
    assert (
        describe_data_difference(read, replace(data, label_names=("a", "b")))
        == "labels are a, b, there negative, positive"
    )
    assert describe_data_difference(read, replace(data, test=None)) == "test has 0 rows, there 400"
    assert "other texts or labels" in describe_data_difference(replace(read, rows={}), other)


def test_a_stranger_decides_nothing_here(made: Path) -> None:
    raw = study_of(made)
    raw |= {"storage": "sqlite:////nowhere/store.db", "training": {**raw["training"], "report_to": "wandb"}}
    raw["model"]["trust_remote_code"] = True
    heard = Heard()
    path = altered(made, study=tomli_w.dumps(raw))
    found = reproduce_bundle(path, seeds=1, listener=heard)
    assert found.reproduced
    spec = load_study("small-reproduced/study.toml")
    assert spec.storage is None and "report_to" not in spec.training and not spec.model.trust_remote_code
    assert any("model.trust_remote_code=true runs it" in each for each in heard.notices)
    assert any("training.report_to is left out" in each for each in heard.notices)
    asked = Heard()
    reproduce_bundle(path, ["model.trust_remote_code=true"], 1, Path("trusted"), asked)
    assert "not as in the bundle, by --set: model.trust_remote_code" in asked.notices


def test_what_cannot_be_leaves_nothing(made: Path) -> None:
    raw, best = study_of(made), json.loads(contents(made)["best.json"])
    for changes, words in (
        ({"study": "name = ["}, "its study.toml is not TOML"),
        ({"study": tomli_w.dumps(raw | {"space": {"file": "/etc/passwd"}})}, "is none that hpo has written"),
        ({"study": tomli_w.dumps(raw | {"name": "../evil"})}, "name is"),
        ({"best": {"values": {"learning_rate": 7.0}}}, "its best learning_rate is 7.0; outside"),
        ({"best": {"values": best["values"] | {"x": 1}}}, "name different parameters"),
        ({"best": {"objective": "f1"}}, "scored by f1"),
        ({"best": {"test": {"mean": 1}}}, "its best.json cannot be: test sd"),
    ):
        path = altered(made, **changes)
        before = everything(Path())
        with pytest.raises(SpecError, match=words):
            reproduce_bundle(path)
        assert everything(Path()) == before
    raw["model"]["checkpoint"] = "./weights"
    with pytest.raises(ModelError, match="--set model.checkpoint=PATH names where it lies here"):
        reproduce_bundle(altered(made, study=tomli_w.dumps(raw)))
    assert not Path("small-reproduced").exists()


def test_other_folders_are_left_alone(made: Path) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    with pytest.raises(StudyError, match="is there, and not from this bundle; choose another --output"):
        reproduce_bundle(made, folder=Path("mine"))
    with pytest.raises(StudyError, match="is there, and not from this bundle"):
        reproduce_bundle(made, folder=made)
    assert everything(Path("mine")) == ["thesis.tex"]
    reproduce_bundle(made, seeds=1)
    with pytest.raises(StudyError, match="was begun with another --set"):
        reproduce_bundle(made, ["training.bf16=false"], seeds=1)


def scores(values: Sequence[float]) -> SeedScores:
    sd = stdev(values) if len(values) > 1 else None
    return SeedScores(mean=mean(values), sd=sd, values=list(values), seeds=list(range(len(values))))


def test_the_interval_holds_what_it_promises() -> None:
    """Of means of runs like those before, 95 % lie within, whatever the numbers of runs; of others far fewer."""
    draw = np.random.default_rng(0)
    for count, again in ((2, 1), (3, 3), (5, 2), (5, 5)):
        held = strange = 0
        for _ in range(2000):
            before, here = scores(draw.normal(0.9, 0.01, count).tolist()), draw.normal(0.9, 0.01, again)
            low, high = prediction_interval(before, here.tolist())
            assert low is not None and high is not None
            held += low <= here.mean() <= high
            strange += low <= here.mean() - 0.05 <= high
        assert 0.935 < held / 2000 < 0.965, (count, again)
        assert count == 2 or strange / 2000 < 0.25


def test_one_run_borrows_the_spread_of_the_others() -> None:
    low, high = prediction_interval(scores([0.9]), [0.88, 0.9, 0.92])
    assert low is not None and high is not None and 0.8 < low < 0.9 < high < 1.0
    assert prediction_interval(scores([0.9]), [0.89]) == (None, None)


def runs(values: Sequence[float | None], record: StudyResults) -> list[optuna.trial.FrozenTrial]:
    """Runs with these scores on test, seeds from 100 on; None for one that diverged."""
    found = []
    for seed, value in enumerate(values, 100):
        attributes = {"seed": seed, "reason": "diverged: the loss is nan at step 3"}
        if value is not None:
            attributes |= {name: {"metrics": {"accuracy": value}} for name in ("validation", "test")}
        state = optuna.trial.TrialState.FAIL if value is None else optuna.trial.TrialState.COMPLETE
        found.append(optuna.trial.create_trial(state=state, value=value, user_attrs=attributes))
    return found


def test_the_verdict_knows_spread_and_failures(made: Path, record: StudyResults) -> None:
    test = scores([0.90, 0.91, 0.92, 0.91]).model_dump()
    original = read_bundle(made).best.model_copy(update={"test": SeedScores(**test)})
    within = judge_reproduction("small", original, runs([0.905, 0.915], record))
    assert within.reproduced and "where 95% of means of 2 runs like those there lie" in within.verdict
    outside = judge_reproduction("small", original, runs([0.85, 0.86], record))
    assert not outside.reproduced and "0.8550 lies outside" in outside.verdict
    astray = judge_reproduction("small", original, runs([0.91, 0.91, 0.91, 0.5], record))
    assert not astray.reproduced, "a run that goes astray does not widen the range that it is judged by"
    failed = judge_reproduction("small", original, runs([0.91, None], record))
    assert not failed.reproduced and failed.verdict.startswith("not reproduced: 1 of 2 runs here failed: diverged")
    assert judge_reproduction("small", original.model_copy(update={"failed": 1}), runs([0.91, None], record)).reproduced
    with pytest.raises(TrainingError, match="no run came to its end: diverged"):
        judge_reproduction("small", original, runs([None, None], record))
    alone = original.model_copy(update={"test": scores([0.9])})
    assert "one run on each side shows no spread" in judge_reproduction("small", alone, runs([0.91], record)).verdict


def test_without_a_test_split_validation_decides(made: Path, record: StudyResults) -> None:
    original = read_bundle(made).best.model_copy(update={"test": None, "validation": scores([0.9, 0.91, 0.92])})
    found = judge_reproduction("small", original, runs([0.91, 0.9], record))
    assert found.reproduced and found.split == "validation"
    with pytest.raises(HpoError, match="--set data.test=PATH"):
        judge_reproduction("small", original.model_copy(update={"validation": None}), runs([0.91], record))
