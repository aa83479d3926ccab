"""Comparisons computed from stored predictions: outcomes, verdicts, costs, the ledger and the JSON schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from hpo.data.splits import load_splits
from hpo.evaluation.baselines import RERUN_SEED_OFFSET, run_baselines
from hpo.evaluation.comparison import compare_study
from hpo.evaluation.comparison_result import ComparisonResult
from hpo.evaluation.final_runs import FINE_TUNE, FinalRuns, RunKey, RunOutcome, open_final_runs
from hpo.evaluation.retraining import retrain
from hpo.evaluation.run_listener import RunListener
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
    assert against.difference == pytest.approx(0.1025) and 0 < against.low < 0.1025 < against.high
    assert against.p <= against.p_holm < 0.05
    assert result.verdict.startswith("better than both baselines; the smallest gain: better than nb-svm by 10.")
    assert ComparisonResult.model_validate_json(result.model_dump_json()) == result
    json.dumps(result.model_dump(), allow_nan=False)


def test_equal_and_better_baselines_are_reported_with_their_cost(compare: Compare) -> None:
    result = compare(winner=0.85, nb_svm=0.85, tfidf_logreg=0.95, majority=0.5)
    outcomes = {each.against: each.outcome for each in result.differences}
    assert outcomes == {"nb-svm": "none", "tfidf-logreg": "worse", "majority": "better"}
    sentences = [each.verdict for each in result.differences]
    assert sentences[0].startswith("no significant gain over nb-svm (")
    assert sentences[0].endswith(" of the winner's device time")
    assert sentences[1].startswith("worse than tfidf-logreg by 9.7 points (95 % CI [")
    assert result.verdict.split("; ")[0] == sentences[1]
    assert result.verdict.endswith("; better than majority")


def test_same_values_with_other_seeds_show_no_gain(compare: Compare) -> None:
    """A/A test: the winner against itself."""
    result = compare(winner=0.85, rerun=0.85)
    assert result.differences[0].outcome == "none"
    assert result.verdict.startswith("no significant gain over rerun (")


def test_single_runs_are_tested_by_mcnemar(compare: Compare) -> None:
    result = compare("final.seeds=[3]", winner=0.9, nb_svm=0.8)
    (difference,) = result.differences
    assert difference.test == "exact McNemar" and difference.p == difference.mcnemar.p
    assert difference.mcnemar.only_ours > difference.mcnemar.only_theirs and difference.p < 0.05


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
    assert result.test_uses.count == 5 and result.test_uses.elsewhere == {}, "three runs, two comparisons"
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
