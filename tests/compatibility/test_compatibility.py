"""Files of version 0.1.0 still open, give the same figures, and continue; README.md describes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpo
from hpo.evaluation.comparison_result import ComparisonResult
from hpo.evaluation.sealed_split import list_uses
from hpo.export.bundle import read_bundle
from hpo.export.formats import FORMATS
from hpo.export.reproduction import reproduce_bundle
from hpo.results.best_config import SeedScores, best_config_dict
from hpo.results.study_results import StudyResults
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.store.trial_record import TrialRecord
from tests.support.evaluated_study import open_results

HERE = Path(__file__).resolve().parent
BUNDLE = HERE / "kept.bundle.zip"
EXPECTED_SHOW: dict[str, Any] = json.loads((HERE / "expected_show.json").read_text())
EXPECTED_COMPARE: dict[str, Any] = json.loads((HERE / "expected_compare.json").read_text())
# Keys that the present version names otherwise (`speed`) or no longer has.
CHANGED_SHOW_KEYS = {"speed", "saved_by_levers"}
KEPT_DIFFERENCE_KEYS = ("against", "same_runs", "difference", "outcome")


@pytest.fixture
def study(tmp_path: Path) -> hpo.Study:
    """The kept study with its store, artifacts and model folder, in a folder that tests may change."""
    shutil.copytree(HERE / "studies", tmp_path, dirs_exist_ok=True)
    shutil.copytree(HERE / "model", tmp_path / "kept" / "model")
    return hpo.Study(tmp_path / "kept.toml")


@pytest.fixture
def results(study: hpo.Study) -> StudyResults:
    """The results of the kept study."""
    return open_results(study.spec.file)


def assert_same_figures(actual: Any, expected: Any, where: str = "") -> None:
    """Compare JSON values, numbers up to rounding; `where` is the path of keys for messages."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same_figures(actual[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), where
        for index, value in enumerate(expected):
            assert_same_figures(actual[index], value, f"{where}[{index}]")
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=1e-9, abs=1e-12), where
    else:
        assert actual == expected, where


def test_status_is_what_show_printed(study: hpo.Study) -> None:
    status = json.loads(study.status().model_dump_json())
    assert all(row.pop("peak_memory") > 0 for row in [status["best"], *status["trials"]] if row["ending"] == "complete")
    for row in status["trials"]:
        row.pop("peak_memory", None)  # a column of version 0.2.0
    kept = {key: value for key, value in EXPECTED_SHOW.items() if key not in CHANGED_SHOW_KEYS}
    assert_same_figures({key: status[key] for key in kept}, kept)
    assert status["accelerations"] == EXPECTED_SHOW["speed"]
    assert status.keys() - kept.keys() == {"accelerations", "outputs"}


def test_trials_table_has_every_trial(results: StudyResults) -> None:
    table = results.trials_table.set_index("number")
    for row in EXPECTED_SHOW["trials"]:
        assert table.loc[row["trial"], "outcome"] == row["ending"]
        for name, value in row["values"].items():
            assert table.loc[row["trial"], f"params_{name}"] == value
    assert list(table["replay_index"]) == [0, 1, 2, 3, 3, 4, 5, 6, 7], "trial 4 repeats trial 3, which was killed"


def test_comparison_is_what_compare_printed(study: hpo.Study) -> None:
    comparison = study.compare()
    assert ComparisonResult.model_validate_json(comparison.model_dump_json()) == comparison
    actual, expected = comparison.model_dump(), EXPECTED_COMPARE
    for key in ("study", "objective", "direction", "labels", "rows", "trained_on", "winner", "missing", "failed"):
        assert_same_figures(actual[key], expected[key], key)
    assert actual["search"] == {"finished": 8, "wanted": 8}
    for system, expected_system in zip(actual["systems"], expected["systems"], strict=True):
        figures = dict(expected_system)
        assert (system["description"] or "").startswith(figures.pop("as") or "")
        assert_same_figures({key: system[key] for key in figures}, figures, system["system"])
    for difference, expected_difference in zip(actual["differences"], expected["differences"], strict=True):
        # Since version 0.2.0 the error counts the disagreement of runs on single rows once, intervals are corrected for
        # the number of baselines, and McNemar's test compares the deployed runs.
        assert_same_figures(
            {key: difference[key] for key in KEPT_DIFFERENCE_KEYS},
            {key: expected_difference[key] for key in KEPT_DIFFERENCE_KEYS},
            difference["against"],
        )
        assert difference["standard_error"] < expected_difference["standard_error"]
    gap = dict(expected["optimism"])
    assert_same_figures(actual["generalization"].pop("gap"), gap.pop("optimism"))
    actual["generalization"].pop("lost_gain")  # since version 0.2.0
    assert_same_figures(actual["generalization"], gap)
    uses = expected["test_uses"]
    assert actual["test_uses"]["entries"][: uses["count"]] == uses["entries"]


def test_report_has_the_figures_and_records_one_use(study: hpo.Study, results: StudyResults, tmp_path: Path) -> None:
    assert results.companion
    before = len(list_uses(results.companion))
    page = study.report(tmp_path / "report")
    text = page.with_suffix(".md").read_text(encoding="utf8")
    winner = EXPECTED_COMPARE["systems"][0]["test"]["accuracy"]
    assert f"{winner['mean']:.4f} +/- {winner['sd']:.4f} on 60 test rows" in text
    assert "trial #3: killed" in text and "8 of 8 trials finished" in text
    companion = open_results(study.spec.file).companion
    assert companion and len(list_uses(companion)) == before + 1


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_can_be_exported(name: str, study: hpo.Study, tmp_path: Path) -> None:
    assert study.export(name, tmp_path / "exported" / "file").exists()


def test_best_config_is_that_of_the_bundle(results: StudyResults) -> None:
    config, original = best_config_dict(results), read_bundle(BUNDLE).best
    assert config["values"] == original.values and config["objective"] == original.objective
    assert original.test and config["test"] == original.test.model_dump()
    assert original.validation and config["validation"] == original.validation.model_dump()
    assert config["seed"] == 0, "the model folder holds the run with seed 0"


def test_model_folder_predicts_the_stored_probabilities(results: StudyResults) -> None:
    results.compare()
    assert results.comparison_runs and results.data and results.data.test
    winner = results.comparison_runs.systems[0]
    stored = next(table for run, table in zip(winner.runs, winner.tables, strict=True) if run.seed == 0)
    predictions = list(hpo.load(HERE / "model").predict(results.data.test.texts))
    labels = list(results.data.label_names)
    assert [labels.index(prediction.label) for prediction in predictions] == list(stored["predicted"])
    confidence = stored.filter(like="probability_").max(axis=1)
    np.testing.assert_allclose([prediction.probability for prediction in predictions], confidence, atol=1e-5)


def test_bundle_is_read(results: StudyResults) -> None:
    bundle = read_bundle(BUNDLE)
    assert bundle.manifest.hpo == "0.1.0" and bundle.manifest.study == "kept"
    assert results.study.data and bundle.data.fingerprint == results.study.data.fingerprint
    assert {split: len(rows) for split, rows in bundle.rows.items()} == {"train": 400, "validation": 60, "test": 60}


def test_bundle_is_reproduced(tmp_path: Path) -> None:
    reproduction = reproduce_bundle(BUNDLE, seeds=1, folder=tmp_path / "kept-reproduced")
    assert reproduction.original == SeedScores(mean=0.5, sd=0.14142135623730948, values=[0.6, 0.4], seeds=[0, 1])
    assert reproduction.common_seeds == [0] and reproduction.reproduced, reproduction.verdict


def test_search_continues_with_the_ninth_trial(study: hpo.Study, results: StudyResults) -> None:
    before = results.trials
    search = run_search(study.spec, study.url, SearchListener())
    after = [TrialRecord.from_trial(trial) for trial in search.get_trials(deepcopy=False)]
    assert after[: len(before)] == before, "stored trials must not change"
    assert [trial.number for trial in after[len(before) :]] == [9]
    assert after[9].replay_index == 8 and after[9].outcome in {"complete", "pruned"}
    status = study.status()
    assert status.finished == status.wanted == 9 and status.state == "finished"
