"""A bundle reproduces its scores from the same data, reports any difference, and runs nothing without permission."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
import tomli_w

from hpo.cli import main
from hpo.data.splits import load_splits
from hpo.errors import DataError, HpoError, ModelError, SpecError, StudyError, TrainingError
from hpo.evaluation.sealed_split import list_uses
from hpo.export.agreement import judge_reproduction, prediction_interval
from hpo.export.bundle import STUDY, read_bundle
from hpo.export.formats import export_format
from hpo.export.reproduction import describe_data_difference, reproduce_bundle
from hpo.results.best_config import SeedScores
from hpo.results.study_results import StudyResults
from hpo.store.run_record import RunRecord, SplitScores
from hpo.store.storage import default_storage_url, find_study, open_storage
from hpo.store.study_record import StudyRecord
from hpo.study.spec import load_study
from tests.evaluation.conftest import RecordingListener
from tests.support.evaluated_study import results, study_file
from tests.support.zip_files import alter_bundle, read_zip

__all__ = ["results", "study_file"]


@pytest.fixture
def bundle_file(results: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of the small study in an otherwise empty folder, which is the current one."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return export_format(results, "bundle", elsewhere / "small.bundle.zip")


def list_files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def read_study(path: Path) -> dict[str, Any]:
    return tomllib.loads(read_zip(path)[STUDY].decode())


def test_same_machine_reproduces_the_same_scores(bundle_file: Path, results: StudyResults) -> None:
    before = list_files(results.spec.folder)
    listener = RecordingListener()
    reproduction = reproduce_bundle(bundle_file, listener=listener)
    assert reproduction.reproduced and reproduction.split == "test"
    assert reproduction.identical_seeds == reproduction.common_seeds == [0, 1]
    assert results.comparison and reproduction.repeated == reproduction.original
    test = results.comparison.winner_system.test["accuracy"]
    assert reproduction.original.model_dump() == {**test.model_dump(), "seeds": [0, 1]}
    assert reproduction.verdict == "reproduced: each of the 2 common seeds scores the same to the last bit"
    assert listener.started == [("reproduction", 0), ("reproduction", 1)] and not listener.notices
    assert list_files(results.spec.folder) == before, "the study itself must not change"
    spec = load_study("small-reproduced/study.toml")
    storage = open_storage(default_storage_url(Path("small-reproduced")))
    assert find_study(storage, "small") is None, "nothing must be searched"
    companion = find_study(storage, "small/final")
    assert companion and len(list_uses(companion)) == 2, "each use of the test labels must be in the ledger"
    assert spec.fixed == results.fixed_fields and spec.speed == results.spec.speed == "auto"
    assert StudyRecord.from_attributes(companion.user_attrs).accelerations == {}, "no others than the study's"
    second = RecordingListener()
    assert (
        reproduce_bundle(bundle_file, listener=second) == reproduction
        and not second.started
        and len(second.reused) == 2
    )


def test_shell_prints_scores_and_verdict(
    bundle_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_reproduce(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["hpo", "reproduce", *arguments])
        with pytest.raises(SystemExit) as exit_info:
            main()
        return int(exit_info.value.code or 0), capsys.readouterr().out

    code, out = run_reproduce(str(bundle_file), "--json", "--output", "here")
    printed = json.loads(out)
    assert code == 0 and printed["reproduced"] and printed["verdict"].startswith("reproduced: ")
    assert printed["before"]["seeds"] == printed["again"]["seeds"] == printed["same"] == printed["shared"] == [0, 1]
    wrong = {"mean": 0.99, "sd": 0.001, "values": [0.989, 0.991], "seeds": [0, 1]}
    code, out = run_reproduce(str(alter_bundle(bundle_file, best={"test": wrong})), "--output", "here")
    original, repeated, verdict = out.splitlines()
    assert code == 1 and original == "original: accuracy 0.9900 +/- 0.0010 on test, seeds 0, 1"
    assert repeated.startswith("here: ")
    assert verdict.startswith("not reproduced: ") and "is outside [0.97" in verdict
    assert run_reproduce("none.zip")[0] == 2


def test_interrupted_reproduction_continues(bundle_file: Path) -> None:
    class InterruptingListener(RecordingListener):
        def step(self, share: float, what: str) -> None:
            if len(self.started) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce_bundle(bundle_file, listener=InterruptingListener())
    listener = RecordingListener()
    reproduction = reproduce_bundle(bundle_file, listener=listener)
    assert reproduction.reproduced and len(listener.reused) == 1 and listener.started == [("reproduction", 1)]


def test_number_of_seeds_can_be_chosen(bundle_file: Path) -> None:
    single = reproduce_bundle(bundle_file, seeds=1)
    assert single.repeated.seeds == [0] and single.repeated.sd is None and single.reproduced
    listener = RecordingListener()
    reproduction = reproduce_bundle(bundle_file, seeds=3, listener=listener)
    assert reproduction.repeated.seeds == [0, 1, 2] and reproduction.common_seeds == [0, 1]
    assert len(listener.started) == 2


def test_other_data_are_refused_and_leave_nothing_behind(bundle_file: Path) -> None:
    before = list_files(Path())
    for override, message in (
        ("data.seed=1", "96 of 96 rows of train differ, the first is row 1: the text differs"),
        ("data.rows.test=399", "test has 399 rows, in the bundle 400"),
        ('data.clean=["lowercase"]', "rows of train differ"),
    ):
        with pytest.raises(DataError, match=message) as error_info:
            reproduce_bundle(bundle_file, [override])
        assert "--set data.source=PATH" in str(error_info.value) and "fingerprint" in str(error_info.value)
        assert list_files(Path()) == before


def test_missing_data_can_be_named(bundle_file: Path) -> None:
    raw = read_study(bundle_file)
    raw["data"] |= {"source": "/nowhere/reviews.csv"}
    path, listener = alter_bundle(bundle_file, study=tomli_w.dumps(raw)), RecordingListener()
    before = list_files(Path())
    with pytest.raises(DataError, match=r"name the data with --set data.source=PATH \(or data.train, data.test\)"):
        reproduce_bundle(path, listener=listener)
    assert any("data.source is /nowhere/reviews.csv, as in the bundle" in notice for notice in listener.notices)
    assert list_files(Path()) == before
    assert reproduce_bundle(path, ['data.source="builtin:reviews"'], seeds=1).reproduced


def test_differing_labels_are_named(bundle_file: Path, results: StudyResults) -> None:
    bundle, data = read_bundle(bundle_file), load_splits(results.spec.data, results.spec.file.parent)
    labels = list(data.train.labels)
    labels[3] = 1 - labels[3]
    other = replace(data, train=replace(data.train, labels=labels))
    names = data.label_names
    assert describe_data_difference(bundle, other) == (
        f"1 of 96 rows of train differ, the first is row 4: labelled {names[labels[3]]!r}, "
        f"in the bundle {names[1 - labels[3]]!r}"
    )
    assert (
        describe_data_difference(bundle, replace(data, label_names=("a", "b")))
        == "the labels are a, b, in the bundle negative, positive"
    )
    assert describe_data_difference(bundle, replace(data, test=None)) == "test has 0 rows, in the bundle 400"
    assert "texts or labels differ" in describe_data_difference(replace(bundle, rows={}), other)


def test_settings_that_only_the_user_may_choose_are_removed(bundle_file: Path) -> None:
    raw = read_study(bundle_file)
    raw |= {"storage": "sqlite:////nowhere/store.db", "training": {**raw["training"], "report_to": "wandb"}}
    raw["model"]["trust_remote_code"] = True
    listener = RecordingListener()
    path = alter_bundle(bundle_file, study=tomli_w.dumps(raw))
    assert reproduce_bundle(path, seeds=1, listener=listener).reproduced
    spec = load_study("small-reproduced/study.toml")
    assert spec.storage is None and "report_to" not in spec.training and not spec.model.trust_remote_code
    assert any("model.trust_remote_code=true allows it" in notice for notice in listener.notices)
    assert any("training.report_to would send results elsewhere" in notice for notice in listener.notices)
    permitted = RecordingListener()
    reproduce_bundle(path, ["model.trust_remote_code=true"], 1, Path("trusted"), permitted)
    assert "changed by --set: model.trust_remote_code" in permitted.notices


def test_invalid_bundle_leaves_nothing_behind(bundle_file: Path) -> None:
    raw, best = read_study(bundle_file), json.loads(read_zip(bundle_file)["best.json"])
    for changes, message in (
        ({"study": "name = ["}, "its study.toml is not TOML"),
        ({"study": tomli_w.dumps(raw | {"space": {"file": "/etc/passwd"}})}, "was not written by hpo"),
        ({"study": tomli_w.dumps(raw | {"name": "../evil"})}, "name is"),
        ({"best": {"values": {"learning_rate": 7.0}}}, "its best learning_rate is 7.0; outside"),
        ({"best": {"values": best["values"] | {"x": 1}}}, "name different hyperparameters"),
        ({"best": {"objective": "f1"}}, "scored by f1"),
        ({"best": {"test": {"mean": 1}}}, "its best.json is invalid: test sd"),
    ):
        path = alter_bundle(bundle_file, **changes)
        before = list_files(Path())
        with pytest.raises(SpecError, match=message):
            reproduce_bundle(path)
        assert list_files(Path()) == before
    raw["model"]["checkpoint"] = "./weights"
    with pytest.raises(ModelError, match="name the local checkpoint with --set model.checkpoint=PATH"):
        reproduce_bundle(alter_bundle(bundle_file, study=tomli_w.dumps(raw)))
    assert not Path("small-reproduced").exists()


def test_other_folders_are_not_changed(bundle_file: Path) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    with pytest.raises(StudyError, match="exists and is not from this bundle; choose another --output"):
        reproduce_bundle(bundle_file, folder=Path("mine"))
    with pytest.raises(StudyError, match="exists and is not from this bundle"):
        reproduce_bundle(bundle_file, folder=bundle_file)
    assert list_files(Path("mine")) == ["thesis.tex"]
    reproduce_bundle(bundle_file, seeds=1)
    with pytest.raises(StudyError, match="was started with other --set values"):
        reproduce_bundle(bundle_file, ["training.bf16=false"], seeds=1)


def summarize(values: Sequence[float]) -> SeedScores:
    sd = stdev(values) if len(values) > 1 else None
    return SeedScores(mean=mean(values), sd=sd, values=list(values), seeds=list(range(len(values))))


def test_prediction_interval_covers_95_percent() -> None:
    """The interval holds 95 % of means of like runs, whatever the numbers of runs, and far fewer of other runs."""
    random = np.random.default_rng(0)
    for count, repeats in ((2, 1), (3, 3), (5, 2), (5, 5)):
        inside = other_inside = 0
        for _ in range(2000):
            before, here = summarize(random.normal(0.9, 0.01, count).tolist()), random.normal(0.9, 0.01, repeats)
            low, high = prediction_interval(before, here.tolist())
            assert low is not None and high is not None
            inside += low <= here.mean() <= high
            other_inside += low <= here.mean() - 0.05 <= high
        assert 0.935 < inside / 2000 < 0.965, (count, repeats)
        assert count == 2 or other_inside / 2000 < 0.25


def test_single_original_run_uses_the_spread_of_the_repeated_runs() -> None:
    low, high = prediction_interval(summarize([0.9]), [0.88, 0.9, 0.92])
    assert low is not None and high is not None and 0.8 < low < 0.9 < high < 1.0
    assert prediction_interval(summarize([0.9]), [0.89]) == (None, None)


def make_runs(values: Sequence[float | None]) -> list[RunRecord]:
    """Return runs with these scores on both splits and seeds from 100 on; None for a run that diverged."""
    runs = []
    for seed, value in enumerate(values, 100):
        scores = None if value is None else SplitScores({"accuracy": value}, {}, [])
        run = RunRecord(
            number=seed,
            outcome="diverged" if value is None else "complete",
            value=value,
            key={},
            system="reproduction",
            seed=seed,
            reason="diverged: the loss is nan at step 3" if value is None else None,
            validation=scores,
            test=scores,
        )
        runs.append(run)
    return runs


def test_verdict_depends_on_spread_and_failures(bundle_file: Path) -> None:
    test = summarize([0.90, 0.91, 0.92, 0.91]).model_dump()
    original = read_bundle(bundle_file).best.model_copy(update={"test": SeedScores(**test)})
    within = judge_reproduction("small", original, make_runs([0.905, 0.915]))
    assert within.reproduced and "which holds 95% of means of 2 such runs" in within.verdict
    outside = judge_reproduction("small", original, make_runs([0.85, 0.86]))
    assert not outside.reproduced and "0.8550 is outside" in outside.verdict
    with_outlier = judge_reproduction("small", original, make_runs([0.91, 0.91, 0.91, 0.5]))
    assert not with_outlier.reproduced, "a diverged run must not widen the interval that it is compared with"
    failed = judge_reproduction("small", original, make_runs([0.91, None]))
    assert not failed.reproduced and failed.verdict.startswith("not reproduced: 1 of 2 runs failed here: diverged")
    assert judge_reproduction("small", original.model_copy(update={"failed": 1}), make_runs([0.91, None])).reproduced
    with pytest.raises(TrainingError, match="every run failed: diverged"):
        judge_reproduction("small", original, make_runs([None, None]))
    alone = original.model_copy(update={"test": summarize([0.9])})
    assert "one run on each side has no spread" in judge_reproduction("small", alone, make_runs([0.91])).verdict


def test_without_a_test_split_validation_decides(bundle_file: Path) -> None:
    original = read_bundle(bundle_file).best.model_copy(
        update={"test": None, "validation": summarize([0.9, 0.91, 0.92])}
    )
    reproduction = judge_reproduction("small", original, make_runs([0.91, 0.9]))
    assert reproduction.reproduced and reproduction.split == "validation"
    with pytest.raises(HpoError, match="--set data.test=PATH"):
        judge_reproduction("small", original.model_copy(update={"validation": None}), make_runs([0.91]))
