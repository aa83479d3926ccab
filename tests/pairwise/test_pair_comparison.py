"""Two systems on the same test rows: studies, model folders and files of predictions, in every combination."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from scipy import stats

from hpo.data.splits import load_splits
from hpo.errors import HpoError
from hpo.evaluation.baselines import run_baselines
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.sealed_split import list_uses
from hpo.pairwise.operands import parse_operands
from hpo.pairwise.pair_comparison import PairRequest, compare_pair
from hpo.pairwise.pair_result import PairResult
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.store.storage import find_study, open_storage, storage_url
from hpo.study.spec import load_study
from tests.support.command_line import Ended, run_hpo  # noqa: F401
from tests.support.evaluated_study import STUDY, study_file  # noqa: F401

Run = Callable[..., Ended]
SCHEMA = Path(__file__).parents[2] / "docs" / "pair-schema.json"
ROWS = 200


def compare(first: Path, second: Path, file: Path | None = None, **options: Any) -> PairResult:
    return compare_pair(PairRequest(*parse_operands([first, second]), file, **options), lambda share, text: None)


def scores(result: PairResult, index: int) -> dict[str, float]:
    return {name: summary.mean for name, summary in result.systems[index].test.items()}


def count_uses(file: Path) -> int:
    companion = find_study(open_storage(storage_url(load_study(file))), "small/final")
    assert companion
    return len(list_uses(companion))


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Labelled rows, and three files of predictions: right in 90 %, 80 %, and 89 % of the rows."""
    labels = np.resize(["down", "flat", "up"], ROWS)
    table = pandas.DataFrame({"text": [f"text {row}" for row in range(ROWS)], "label": labels})
    table.to_csv(tmp_path / "test.csv", index=False)
    for name, wrong in (("good", 20), ("bad", 40), ("near", 22)):
        predicted = np.where(np.arange(ROWS) < wrong, np.roll(labels, 1), labels)
        predictions = table.assign(label=predicted)
        if name != "bad":
            for label in ("down", "flat", "up"):
                predictions[label] = np.where(predicted == label, 0.8, 0.1)
        predictions.sample(frac=1, random_state=0).to_json(tmp_path / f"{name}.jsonl", orient="records", lines=True)
    return tmp_path / "test.csv"


def test_two_files_are_compared_as_they_are(labelled: Path) -> None:
    """The interval is that of 20 rows of 200 that only the first has right."""
    folder = labelled.parent
    result = compare(folder / "good.jsonl", folder / "bad.jsonl", labelled)
    difference, share = result.difference, 20 / ROWS
    assert (result.rows, result.labels, result.covers) == (ROWS, ["down", "flat", "up"], "rows")
    assert difference.difference == pytest.approx(share) and difference.outcome == "better"
    error = np.sqrt(share * (1 - share) / ROWS)
    assert (difference.high - difference.low) / 2 == pytest.approx(stats.norm.isf(0.025) * error, rel=0.1)
    assert (difference.mcnemar.only_ours, difference.mcnemar.only_theirs) == (20, 0)
    assert difference.test == "paired bootstrap over rows"
    assert result.verdict.startswith("good.jsonl is better than bad.jsonl by 10.0 points (95 % CI [")
    assert result.scope.startswith("this compares two systems as they are")
    assert result.ledger.startswith("test.csv has no ledger")
    with_probabilities, labels_only = result.systems
    assert with_probabilities.has_probabilities and with_probabilities.test["log_loss"].mean > 0
    assert not labels_only.has_probabilities and "log_loss" not in labels_only.test
    assert str(labels_only.source).startswith("sha256:") and labels_only.seeds == []
    assert PairResult.model_validate_json(result.model_dump_json()) == result


def test_the_second_may_be_better_and_few_rows_are_tested_exactly(labelled: Path) -> None:
    folder = labelled.parent
    worse = compare(folder / "bad.jsonl", folder / "good.jsonl", labelled)
    assert worse.verdict.startswith("good.jsonl is better than bad.jsonl by 10.0 points (95 % CI [")
    assert worse.difference.outcome == "worse"
    near = compare(folder / "good.jsonl", folder / "near.jsonl", labelled)
    assert near.difference.p == 0.5 and near.difference.low <= 0, "two rows of one sign, by chance every second time"
    assert near.verdict.startswith("no difference was found on these 200 test rows: good.jsonl is not better than")


def test_studies_with_the_same_test_split_are_compared_by_all_seeds(study_file: Path) -> None:  # noqa: F811
    """A copy of a study has other runs by chance the same scores; the ledgers of both record the use."""
    copy = study_file.parent / "copy"
    shutil.copytree(study_file.parent, copy, ignore=shutil.ignore_patterns("copy"))
    before = count_uses(study_file)
    result = compare(study_file, copy / "small.toml")
    assert result.covers == "rows and seeds" and [system.seeds for system in result.systems] == [[0, 1], [0, 1]]
    assert not result.difference.same_runs and result.difference.difference == 0 and result.difference.outcome == "none"
    assert result.scope.startswith("this covers other test rows and other training seeds")
    assert [system.name for system in result.systems] == [str(study_file), str(copy / "small.toml")]
    assert count_uses(study_file) == count_uses(copy / "small.toml") == before + 1


def test_a_study_against_its_own_model_folder_and_file(study_file: Path, tmp_path: Path) -> None:  # noqa: F811
    """The deployed run is stored as the folder predicts; a file with the rows of the test split is recognized."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(study_file.parent / "small/model", folder)
    before = count_uses(study_file)
    stored = compare(study_file, folder)
    assert stored.covers == "rows" and stored.difference.mcnemar.only_ours == stored.difference.mcnemar.only_theirs == 0
    assert scores(stored, 0) == pytest.approx(scores(stored, 1), abs=1e-3) and not stored.difference.same_runs
    assert stored.ledger == f"recorded in the ledger of study small: its test split was used {before + 1} times"
    data = load_splits(load_study(study_file).data, study_file.parent)
    assert data.test
    names = [data.label_names[label] for label in data.test.labels]
    pandas.DataFrame({"words": data.test.texts, "class": names}).to_csv(tmp_path / "rows.csv", index=False)
    predicted = compare(study_file, folder, tmp_path / "rows.csv", text="words", label="class")
    assert scores(predicted, 0) == pytest.approx(scores(stored, 0), abs=1e-3)
    assert count_uses(study_file) == before + 2 and "recorded in the ledger of study small" in predicted.ledger
    table = pandas.read_csv(tmp_path / "rows.csv").head(100)
    table.to_csv(tmp_path / "rows.csv", index=False)
    some = compare(study_file, folder, tmp_path / "rows.csv", text="words", label="class", objective="f1_macro")
    assert some.rows == 100 and some.objective == "f1_macro" and "rows.csv has no ledger" in some.ledger


def test_classifiers_of_others_on_real_rows(shared: Path, tmp_path: Path) -> None:
    """Labels 0 and 1 of the file are taken in the order of NEGATIVE and POSITIVE, which the result says."""
    rows = pandas.read_parquet(shared / "data/sst2/validation.parquet").head(100)
    rows.to_parquet(tmp_path / "test.parquet")
    rows.assign(label=1).to_csv(tmp_path / "constant.csv", index=False)
    result = compare(shared / "models/minilm-l6-sst2", tmp_path / "constant.csv", tmp_path / "test.parquet")
    model, constant = result.systems
    assert model.test["accuracy"].mean > 0.8 and result.difference.outcome == "better"
    assert constant.test["accuracy"].mean == rows["label"].mean()
    assert result.assumptions == ["minilm-l6-sst2: assuming 0 = NEGATIVE, 1 = POSITIVE"]


def test_studies_with_other_test_rows_cannot_be_paired(study_file: Path, tmp_path: Path) -> None:  # noqa: F811
    other = tmp_path / "other.toml"
    other.write_text(STUDY.replace('"small"', '"other"').replace("[model]", "seed = 1\n[model]"))
    spec = load_study(other, ("search.trials=1",))
    run_search(spec, storage_url(spec), SearchListener())
    with open_final_runs(spec, storage_url(spec), RunListener(), True, False) as final:
        run_baselines(final, ["majority"])
    with pytest.raises(HpoError, match="studies 'small' and 'other' have different test splits, .* --file"):
        compare(study_file, other)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("good.jsonl bad.jsonl", "neither of the two is a study with a test split; .* --file"),
        ("good.jsonl good.jsonl --file test.csv", "good.jsonl: is compared with itself"),
        ("good.jsonl nothing --file test.csv", "nothing: no such study file, model folder or file of"),
        ("good.jsonl bad.jsonl --file none.csv", r"none.csv: no such file \(--file\)"),
        ("good.jsonl bad.jsonl --text text", "--text and --label name columns of the test rows in --file"),
        ("good.jsonl bad.jsonl --file test.csv --metric log_loss", "bad.jsonl: has no log_loss, which needs prob"),
        ("good.jsonl bad.jsonl --file test.csv --metric f1", "--metric: is 'f1', which is for two classes"),
        ("good.jsonl bad.jsonl --file test.csv --metric acuracy", "--metric: is .*accuracy"),
        ("good.jsonl bad.jsonl --file test.csv --label lable", "test.csv: column 'lable' .* is unknown"),
        ("good.jsonl bad.jsonl --file test.csv --set name=x", "--set changes a study file, and none is compared"),
        ("small.toml --metric accuracy", "--file, --text, --label and --metric are for two systems"),
        ("small.toml small.toml", "small.toml: is compared with itself"),
        ("small.toml good.jsonl", "good.jsonl: 200 rows have a label that is no class, first 'up' in row 1"),
        ("small", "small: is a folder; name a study file, or a second system"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    study_file: Path,  # noqa: F811
    labelled: Path,
    run_hpo: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    problem: str,
) -> None:
    monkeypatch.chdir(labelled.parent)
    ended = run_hpo("compare", *arguments.split())
    assert ended.code == 2 and len(ended.errors.splitlines()) == 1 and not ended.output
    assert re.search(problem, ended.errors), ended.errors


def test_the_shell_prints_scores_scope_and_verdict(labelled: Path, run_hpo: Run) -> None:  # noqa: F811
    files = [labelled.parent / name for name in ("good.jsonl", "bad.jsonl")]
    ended = run_hpo("compare", *files, "--file", labelled)
    lines = ended.output.splitlines()
    assert ended.code == 0 and lines[0].startswith("accuracy on 200 test rows: ")
    assert lines[2].split()[:2] == ["good.jsonl", "0.9000"] and lines[3].split()[:2] == ["bad.jsonl", "0.8000"]
    assert "(McNemar's exact test: p <.001)" in ended.output
    assert lines[-1].startswith("verdict: good.jsonl is better than bad.jsonl by 10.0 points")
    record = PairResult.model_validate_json(run_hpo("compare", *files, "--file", labelled, "--json").output)
    assert record.version == 1 and record.verdict == lines[-1].removeprefix("verdict: ")


def test_documented_schema_is_current() -> None:
    """To write it: `python -m tests.pairwise.test_pair_comparison`."""
    assert json.loads(SCHEMA.read_text(encoding="utf8")) == schema()


def schema() -> dict[str, Any]:
    return PairResult.model_json_schema(mode="serialization")


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf8")
