"""Comparisons computed from stored predictions: outcomes, verdicts, costs, the ledger and the JSON schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pandas
import pytest
from scipy import stats

from hpo.data.splits import load_splits
from hpo.evaluation.baselines import RERUN_SEED_OFFSET, run_baselines
from hpo.evaluation.comparison import compare_study
from hpo.evaluation.comparison_result import ComparisonResult
from hpo.evaluation.differences import compare_systems
from hpo.evaluation.final_runs import FINE_TUNE, FinalRuns, RunKey, RunOutcome, open_final_runs
from hpo.evaluation.retraining import retrain
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.statistics import resample_scores
from hpo.evaluation.system_runs import SystemRuns
from hpo.store.run_record import RunRecord, SplitScores
from hpo.store.storage import find_study, open_storage, storage_url
from hpo.store.trial_state import wall_seconds
from hpo.study.spec import load_study

ROWS = 400
SCHEMA = Path(__file__).parents[2] / "docs" / "comparison-schema.json"
Compare = Callable[..., ComparisonResult]


def simulate_outcome(final: FinalRuns, accuracy: float, draw: int, seconds: float) -> RunOutcome:
    """Return an outcome whose test predictions have this accuracy, at rows drawn at random."""
    test = load_splits(final.spec.data, final.spec.file.parent).test  # the sealed split has no labels
    assert test
    labels = np.asarray(test.labels)
    is_correct = np.random.default_rng(draw).permutation(ROWS) < round(accuracy * ROWS)
    positive = np.where(is_correct == (labels == 1), 0.9, 0.1)
    constant = np.tile([0.4, 0.6], (32, 1))  # 15 of the 32 validation rows have label 1
    return RunOutcome(constant, np.stack([1 - positive, positive], axis=1), {"fit": seconds, "predict": 1.0})


@pytest.fixture
def compare(searched: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """Compare systems of the given accuracies; predictions are simulated, all else is real."""
    accuracies: dict[str, float] = {}

    def simulate(final: FinalRuns, run: RunKey, system: str = "") -> RunOutcome:
        name = run.kind if run.kind != FINE_TUNE else "rerun" if run.seed >= RERUN_SEED_OFFSET else "winner"
        accuracy, draw = accuracies[name] + 0.005 * (run.seed % 2), crc32(f"{name} {run.seed}".encode())
        # The winner costs twice as much even if its search takes no time at all.
        return simulate_outcome(final, accuracy, draw, seconds=2.0 if name == "winner" else 1.0)

    monkeypatch.setattr("hpo.evaluation.retraining.train_and_predict", simulate)
    monkeypatch.setattr("hpo.evaluation.baselines._fit", simulate)
    monkeypatch.setattr("hpo.evaluation.retraining._save_weights", lambda *_: None)
    monkeypatch.setattr("hpo.evaluation.retraining._deploy_model", lambda *_: None)

    def run(*overrides: str, **wanted: float) -> ComparisonResult:
        accuracies.update({name.replace("_", "-"): value for name, value in wanted.items()})
        names = [name for name in accuracies if name != "winner"]
        spec = load_study(searched, (*overrides, f"final.baselines={json.dumps(names)}"))
        with open_final_runs(spec, storage_url(spec), RunListener()) as final:
            retrain(final)
            run_baselines(final, names)
        return compare_study(spec, storage_url(spec))

    return run


def test_better_winner_has_an_interval_above_zero(compare: Compare) -> None:
    result = compare(winner=0.95, majority=0.5, nb_svm=0.85)
    winner, majority, _ = result.systems
    assert winner.system == "winner" and winner.test["accuracy"].mean == pytest.approx(0.9525)
    assert majority.test["accuracy"].sd is None and (winner.test["accuracy"].sd or 0) > 0
    against = result.differences[1]
    assert against.against == "nb-svm" and against.outcome == "better"
    assert against.difference == pytest.approx(0.1) and 0 < against.low < 0.1 < against.high
    assert against.p <= against.p_holm < 0.05
    assert result.verdict.startswith("better than both baselines; the smallest gain: better than nb-svm by 10.0 points")
    assert ComparisonResult.model_validate_json(result.model_dump_json()) == result
    json.dumps(result.model_dump(), allow_nan=False)


def test_equal_and_better_baselines_are_reported_with_their_cost(compare: Compare) -> None:
    result = compare(winner=0.85, nb_svm=0.85, tfidf_logreg=0.95, majority=0.5)
    outcomes = {each.against: each.outcome for each in result.differences}
    assert outcomes == {"nb-svm": "none", "tfidf-logreg": "worse", "majority": "better"}
    sentences = [each.verdict for each in result.differences]
    assert sentences[0].startswith("not better than nb-svm by more than ")
    assert sentences[1].startswith("worse than tfidf-logreg by 9.7 points (95 % CI [")
    assert result.verdict.split("; ")[0] == sentences[1]
    assert result.verdict.endswith("; better than majority")


def test_same_values_with_other_seeds_show_no_gain(compare: Compare) -> None:
    """A/A test: the winner against itself."""
    result = compare(winner=0.85, rerun=0.85)
    assert result.differences[0].outcome == "none"
    assert result.verdict.startswith("not better than rerun by more than ")


def test_single_runs_are_not_tested(compare: Compare) -> None:
    """Nothing is known of other seeds, however clear the difference on these rows is."""
    result = compare("final.seeds=[3]", winner=0.9, nb_svm=0.7)
    (difference,) = result.differences
    assert (difference.outcome, difference.seed_noise) == ("untested", "unknown") and difference.low > 0.1
    assert difference.mcnemar.p < 0.05 and "over test rows only" in difference.verdict


def test_a_deterministic_baseline_needs_a_single_run(compare: Compare) -> None:
    result = compare(winner=0.9, majority=0.5, bow_forest=0.8)
    noise = {each.against: (each.seed_noise, len(result.system(each.against).runs)) for each in result.differences}
    assert noise == {"majority": ("measured", 1), "bow-forest": ("measured", 2)}


def test_intervals_agree_with_the_corrected_tests(compare: Compare) -> None:
    result = compare(winner=0.9, nb_svm=0.87, tfidf_logreg=0.865, majority=0.5, bow_forest=0.89)
    assert {each.outcome for each in result.differences} == {"none", "better"}
    for each in result.differences:
        assert (each.outcome == "none") == (each.low <= 0 <= each.high)
        assert each.confidence == pytest.approx(1 - 0.05 * each.p / each.p_holm) or each.p_holm == 1.0


def test_runs_are_counted_in_pairs(compare: Compare) -> None:
    result = compare(winner=0.9, bow_forest=0.9)
    ours, theirs = result.systems[0], result.system("bow-forest")
    pairs = [(a, b) for a in ours.test["accuracy"].values for b in theirs.test["accuracy"].values]
    recipe = result.difference_to("bow-forest")
    assert (
        len(pairs) == 4
        and recipe
        and recipe.runs_won == np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    )


def test_few_differing_rows_are_tested_exactly() -> None:
    """Of 400 rows, the winner has 5 more right; by chance, 5 of 5 happen once in 16 times."""
    labels = np.zeros(400, dtype=int)
    tables = [pandas.DataFrame({"label": labels, "predicted": np.arange(400) < wrong}) for wrong in (20, 20, 25)]
    runs = [RunRecord(number, "complete", 0.9, {}, "", 0) for number in range(3)]
    systems = [SystemRuns("winner", runs[:2], [], tables[:2]), SystemRuns("nb-svm", runs[2:], [], tables[2:], True)]
    probabilities = [np.column_stack([1 - table["predicted"], table["predicted"]]) for table in tables]
    resampled = resample_scores("accuracy", labels, probabilities)
    (result,) = compare_systems(systems, [tables[0], tables[2]], resampled, "accuracy", 1)
    assert result.p == 1 / 16 and result.outcome == "none" and result.low <= 0
    assert "exact sign flips" in result.test


def test_runs_that_predict_one_class_are_reported() -> None:
    tables = [
        pandas.DataFrame({"label": [0, 1, 1, 1], "predicted": predicted}) for predicted in ([0, 1, 1, 0], [1] * 4)
    ]
    scores = [SplitScores({"accuracy": 0.75}, {}, []), SplitScores({"accuracy": 0.7}, {}, [])]
    runs = [RunRecord(seed, "complete", 0.9, {}, "trial #1", seed, test=scores[seed]) for seed in (0, 1)]
    failures = SystemRuns("winner", runs, ["diverged"], tables).summarize_failures("accuracy")
    assert failures
    assert (failures.runs, failures.failed, failures.collapsed, failures.mean_without) == (3, 1, [1], 0.75)
    assert failures.rate_below == pytest.approx(stats.binomtest(2, 3, alternative="less").proportion_ci(0.95).high)
    assert failures.count == 2
    assert SystemRuns("majority", runs, [], tables, True).summarize_failures("accuracy") is None


def test_cost_of_the_winner_includes_the_search(compare: Compare, searched: Path) -> None:
    result = compare(winner=0.9, nb_svm=0.8)
    search = find_study(open_storage(storage_url(load_study(searched))), "small")
    assert search
    spent = sum(wall_seconds(trial) for trial in search.get_trials())
    winner, baseline = result.systems
    assert winner.cost_seconds == pytest.approx(spent + 2.0) and baseline.cost_seconds == 1.0


def test_missing_baselines_uses_of_the_test_split_and_generalization_gap(compare: Compare, searched: Path) -> None:
    compare(winner=0.9, nb_svm=0.8)
    spec = load_study(searched, ('final.baselines=["majority", "nb-svm"]',))
    result = compare_study(spec, storage_url(spec))
    assert result.missing == ["majority"] and len(result.systems) == 2
    assert result.test_uses.count == 6 and result.test_uses.elsewhere == {}, "four runs, two comparisons"
    search = find_study(open_storage(storage_url(spec)), "small")
    assert search and result.generalization.search == search.best_value
    assert result.generalization.validation and result.generalization.validation.mean == 15 / 32
    assert result.generalization.gap.validation == pytest.approx(search.best_value - 15 / 32)


def test_two_comparisons_of_the_same_runs_are_equal_to_the_last_digit(compare: Compare, searched: Path) -> None:
    first = compare(winner=0.9, nb_svm=0.88)
    spec = load_study(searched, ('final.baselines=["nb-svm"]',))
    second = compare_study(spec, storage_url(spec))
    assert first.model_dump(exclude={"test_uses"}) == second.model_dump(exclude={"test_uses"})


def test_documented_schema_is_current() -> None:
    """To write it: `python -m tests.evaluation.test_comparison`."""
    assert json.loads(SCHEMA.read_text(encoding="utf8")) == schema()


def schema() -> dict[str, Any]:
    return ComparisonResult.model_json_schema(mode="serialization")


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf8")
