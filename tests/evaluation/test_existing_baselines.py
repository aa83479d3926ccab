"""Systems that people have already as baselines: models are run, predictions are read, and both are stored as runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest

from hpo.data.splits import Split, load_splits
from hpo.errors import DataError, HpoError
from hpo.evaluation.baselines import check_baselines, run_baselines
from hpo.evaluation.comparison import compare_study
from hpo.evaluation.comparison_result import ComparisonResult
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.predictions import read_predictions
from hpo.evaluation.run_listener import RunListener
from hpo.predict import load_predictor
from hpo.report import build_report
from hpo.results.study_results import read_results
from hpo.store.run_record import RunRecord
from hpo.store.storage import storage_url
from hpo.study.spec import StudySpec, load_study
from tests.support.command_line import Ended, run_hpo  # noqa: F401
from tests.support.evaluated_study import study_file  # noqa: F401

Run = Callable[..., Ended]
ACCURACY = 0.9


def with_baselines(file: Path, *baselines: str | dict[str, str]) -> StudySpec:
    """Load a study with other baselines; its store stays valid."""
    tables = [json.dumps(each) if isinstance(each, str) else format_table(each) for each in baselines]
    return load_study(file, (f"final.baselines=[{', '.join(tables)}]",))


def format_table(entry: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in entry.items()) + "}"


def run(spec: StudySpec, *names: str) -> list[RunRecord]:
    with open_final_runs(spec, storage_url(spec), RunListener(), True, False, load_predictor) as final:
        return [RunRecord.from_trial(trial) for trials in run_baselines(final, names).values() for trial in trials]


def load_test(spec: StudySpec) -> tuple[Split, tuple[str, ...]]:
    data = load_splits(spec.data, spec.file.parent)
    assert data.test
    return data.test, data.label_names


def write_predictions(file: Path, with_probabilities: bool = False, accuracy: float = ACCURACY) -> Path:
    """Write predictions for the test rows, of which this share is right."""
    split, names = load_test(load_study(file))
    labels = np.asarray(split.labels)
    is_right = np.arange(len(labels)) < accuracy * len(labels)
    predicted = np.where(is_right, labels, 1 - labels)
    table = pandas.DataFrame({"row": np.asarray(split.ids) + 1, "label": np.asarray(names)[predicted]})
    if with_probabilities:
        for label, name in enumerate(names):
            table[name] = np.where(predicted == label, 0.75, 0.25)
    target = file.with_name("theirs.csv")
    table.to_csv(target, index=False)
    return target


def compare(spec: StudySpec) -> ComparisonResult:
    return compare_study(spec, storage_url(spec))


@pytest.mark.parametrize("with_probabilities", [False, True])
def test_predictions_are_a_deterministic_run_without_a_score_on_validation(
    study_file: Path,  # noqa: F811
    with_probabilities: bool,
) -> None:
    write_predictions(study_file, with_probabilities)
    spec = with_baselines(study_file, "majority", {"name": "the vendor", "predictions": "theirs.csv"})
    (record,) = run(spec, "the vendor")
    assert record.value is None and record.validation is None and record.predicted_per_second is None
    assert record.test and record.test.metrics["accuracy"] == ACCURACY
    needed = {"log_loss", "roc_auc", "brier", "ece"}
    assert needed & record.test.metrics.keys() == (needed if with_probabilities else set())
    result = compare(spec)
    system = result.system("the vendor")
    assert system.source == record.source and str(record.source).startswith("sha256:") and system.failures is None
    assert system.texts_per_second is None and system.validation is None
    difference = result.difference_to("the vendor")
    assert difference and difference.difference == pytest.approx(result.winner_system.test["accuracy"].mean - ACCURACY)
    assert ComparisonResult.model_validate_json(result.model_dump_json()) == result
    results = read_results(spec, storage_url(spec))
    results.compare()
    assert all("the vendor" in page for name, page in build_report(results).items() if name.startswith("report."))


def test_a_changed_file_is_another_run_and_a_missing_one_keeps_its_last(study_file: Path) -> None:  # noqa: F811
    theirs = write_predictions(study_file)
    spec = with_baselines(study_file, {"name": "the vendor", "predictions": "theirs.csv"})
    (first,) = run(spec, "the vendor")
    assert [record.number for record in run(spec, "the vendor")] == [first.number]
    write_predictions(study_file, accuracy=0.6)
    assert compare(spec).missing == ["the vendor"]
    (second,) = run(spec, "the vendor")
    assert second.source != first.source and compare(spec).system("the vendor").test["accuracy"].mean == 0.6
    theirs.unlink()
    assert compare(spec).system("the vendor").source == second.source
    with pytest.raises(DataError, match="baseline the vendor: .*theirs.csv: no such file"):
        check_baselines(spec, ["the vendor"])
    write_predictions(study_file)
    assert compare(spec).system("the vendor").source == first.source


def test_options_that_change_the_predictions_make_another_run(study_file: Path) -> None:  # noqa: F811
    theirs = write_predictions(study_file)
    table = pandas.read_csv(theirs)
    table.assign(second=table["label"].iloc[::-1].to_numpy()).to_csv(theirs, index=False)
    entry = {"name": "the vendor", "predictions": "theirs.csv"}
    (first,) = run(with_baselines(study_file, entry), "the vendor")
    (second,) = run(with_baselines(study_file, {**entry, "label": "second"}), "the vendor")
    assert first.number != second.number and second.source == f"{first.source} label=second"


def test_a_folder_of_hpo_predicts_as_it_was_stored(study_file: Path) -> None:  # noqa: F811
    """The winner's own model as a baseline scores as the run that it was saved from."""
    spec = with_baselines(study_file, {"name": "deployed", "model": "small/model"})
    (record,) = run(spec, "deployed")
    origin = json.loads((spec.model_folder / "recipe.json").read_text())["made"]
    assert record.validation and record.validation.metrics == pytest.approx(origin["validation"])
    assert record.trained_on == "train" and record.predicted_per_second


CLEANED = """\
name = "sst"
[data]
train = "all.csv"
test = 60
validation = 30
clean = ["lowercase", { name = "strip_punctuation" }, "remove_stopwords"]
[model]
checkpoint = "builtin:tiny"
[space.parameters.learning_rate]
low = 1e-4
high = 1e-2
"""


def test_a_classifier_gets_raw_texts_and_its_labels_are_matched(tmp_path: Path, shared: Path) -> None:
    """Its predictions for carved rows are those of the library itself for the texts in the file."""
    from transformers import pipeline

    table = pandas.read_parquet(shared / "data/sst2/test.parquet").head(120)
    table["text"] = table["text"].str.replace(" .", "!", regex=False)
    table.assign(label=table["label"].map({0: "neg", 1: "pos"})).to_csv(tmp_path / "all.csv", index=False)
    (tmp_path / "sst.toml").write_text(CLEANED)
    model = shared / "models/minilm-l6-sst2"
    spec = with_baselines(tmp_path / "sst.toml", {"name": "minilm", "model": str(model)})
    with open_final_runs(spec, storage_url(spec), RunListener(), False, False) as final:
        (trial,) = run_baselines(final, ["minilm"])["minilm"]
        stored = read_predictions(trial, final.storage, final.artifacts)
    assert stored is not None and len(stored) == 60
    texts = table["text"].iloc[stored["row"]].tolist()
    answers = pipeline("text-classification", model=str(model), device="cpu", dtype="float32")(texts)
    assert [answer["label"] for answer in answers] == [("NEGATIVE", "POSITIVE")[each] for each in stored["predicted"]]
    expected = [answer["score"] for answer in answers]
    np.testing.assert_allclose(stored.filter(like="probability_").max(axis=1), expected, atol=1e-4)
    assert (stored["label"] == stored["predicted"]).mean() > 0.8
    record = RunRecord.from_trial(trial)
    assert record.description == f"the model minilm-l6-sst2 ({record.source})"


def relabel(folder: Path, names: list[str]) -> None:
    info = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps({**info, "labels": names}))


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"model": "./nowhere"}, "baseline x: .*nowhere: no such file or folder"),
        ({"model": "nobody/nothing"}, "baseline x: nobody/nothing: the hub cannot be reached and nothing is cached"),
        ({"model": "relabelled"}, "baseline x: the labels of relabelled are 'up', 'down', those of the data 'neg"),
        ({"model": "headless"}, "baseline x: .*headless is a BertModel, which has no head for classes"),
        ({"predictions": "small.toml"}, "suffix .toml is unknown"),
        ({"predictions": "few.csv"}, r"few.csv: 399 of the test rows have no prediction, first row 2"),
    ],
)
def test_what_cannot_be_compared_is_one_line_before_anything_runs(
    study_file: Path,  # noqa: F811
    run_hpo: Run,  # noqa: F811
    entry: dict[str, str],
    problem: str,
) -> None:
    folder = study_file.parent
    shutil.copytree(folder / "small/model", folder / "relabelled")
    relabel(folder / "relabelled", ["up", "down"])
    shutil.copytree(folder / "small/best", folder / "headless")
    config = json.loads((folder / "headless/config.json").read_text())
    (folder / "headless/config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    write_predictions(study_file)
    pandas.read_csv(folder / "theirs.csv").head(1).to_csv(folder / "few.csv", index=False)
    before = (folder / "store.db").read_bytes()
    ended = run_hpo("run", study_file, "--set", f"final.baselines=[{format_table({'name': 'x', **entry})}]")
    assert ended.code == 2 and len(ended.errors.splitlines()) == 1
    pytest.raises(HpoError, check_baselines, with_baselines(study_file, {"name": "x", **entry}), ["x"]).match(problem)
    assert (folder / "store.db").read_bytes() == before


def test_labels_alone_have_no_log_loss(study_file: Path) -> None:  # noqa: F811
    write_predictions(study_file)
    spec = with_baselines(study_file, {"name": "x", "predictions": "theirs.csv"})
    spec = spec.model_copy(update={"objective": "log_loss"})
    with pytest.raises(DataError, match="theirs.csv: has labels only, and log_loss needs probabilities"):
        check_baselines(spec, ["x"])


def test_names_with_blanks_work_in_the_shell(study_file: Path, run_hpo: Run) -> None:  # noqa: F811
    write_predictions(study_file)
    entry = format_table({"name": "the vendor", "predictions": str(study_file.with_name("theirs.csv"))})
    options = ["--set", f"final.baselines=[{entry}]"]
    missing = run_hpo("compare", study_file, *options)
    assert "baseline the vendor has not been run" in missing.output and "'the vendor'` runs it" in missing.output
    ended = run_hpo("baseline", study_file, "the vendor", *options)
    assert ended.code == 0 and "the vendor: the predictions in theirs.csv (sha256:" in ended.output
    result = json.loads(run_hpo("baseline", study_file, "the vendor", *options, "--json").output)
    assert result["baselines"]["the vendor"][0]["validation"] is None
    assert "the vendor" in run_hpo("compare", study_file, *options).output
