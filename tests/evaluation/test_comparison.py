"""The verdict: from stored predictions, honest about what is equal, and the same each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from hpo.data.splits import load_splits
from hpo.evaluation.baselines import RERUN_SEED_OFFSET, run_baselines
from hpo.evaluation.comparison import compare_study
from hpo.evaluation.final_runs import FINE_TUNE, FinalRuns, RunOutcome, open_final_runs
from hpo.evaluation.retraining import retrain
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.verdict import describe_comparison, format_difference
from hpo.store.storage import find_study, open_storage, storage_url
from hpo.study.spec import load_study

ROWS = 400


def known(final: FinalRuns, accuracy: float, draw: int, seconds: float) -> RunOutcome:
    """An outcome of so many seconds whose test predictions are right so often, at rows drawn by chance."""
    test = load_splits(final.spec.data, final.spec.file.parent).test  # the sealed one tells nobody
    assert test
    labels = np.asarray(test.labels)
    right = np.random.default_rng(draw).permutation(ROWS) < round(accuracy * ROWS)
    sure = np.where(right == (labels == 1), 0.9, 0.1)
    same = np.tile([0.4, 0.6], (32, 1))  # 15 of the 32 rows have label 1
    return RunOutcome(same, np.stack([1 - sure, sure], axis=1), {"fit": seconds, "predict": 1.0})


@pytest.fixture
def found(searched: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compare a winner of this accuracy with baselines of those; predictions are made up, all else is real."""
    accuracies: dict[str, float] = {}

    def outcome(final: FinalRuns, run: Any, system: str = "") -> RunOutcome:
        name = run.kind if run.kind != FINE_TUNE else "rerun" if run.seed >= RERUN_SEED_OFFSET else "winner"
        accuracy, draw = accuracies[name] + 0.005 * (run.seed % 2), crc32(f"{name} {run.seed}".encode())
        # The winner costs twice as much even where its search takes no time at all.
        return known(final, accuracy, draw, seconds=2.0 if name == "winner" else 1.0)

    monkeypatch.setattr("hpo.evaluation.retraining.train_and_predict", outcome)
    monkeypatch.setattr("hpo.evaluation.baselines._outcome", outcome)
    monkeypatch.setattr("hpo.evaluation.retraining._keep", lambda *_: None)
    monkeypatch.setattr("hpo.evaluation.retraining._deploy", lambda *_: None)

    def run(*overrides: str, **wanted: float) -> dict[str, Any]:
        accuracies.update({name.replace("_", "-"): value for name, value in wanted.items()})
        names = [name for name in accuracies if name != "winner"]
        spec = load_study(searched, (*overrides, f"final.baselines={json.dumps(names)}"))
        with open_final_runs(spec, storage_url(spec), RunListener()) as final:
            retrain(final)
            run_baselines(final, names)
        return compare_study(spec, storage_url(spec))

    return run


def test_a_winner_that_is_better_says_so_with_an_interval(found: Any) -> None:
    compared = found(winner=0.95, majority=0.5, nb_svm=0.85)
    ours, majority, nb_svm = compared["systems"]
    assert ours["system"] == "winner" and ours["test"]["accuracy"]["mean"] == pytest.approx(0.9525)
    assert majority["test"]["accuracy"]["sd"] is None and ours["test"]["accuracy"]["sd"] > 0
    against = compared["differences"][1]
    assert against["against"] == "nb-svm" and against["outcome"] == "better"
    assert against["difference"] == pytest.approx(0.1025) and 0 < against["low"] < 0.1025 < against["high"]
    assert against["p"] <= against["p_holm"] < 0.05
    assert compared["verdict"].startswith("better than each of the 2 baselines; the closest: better than nb-svm by 10.")
    assert json.loads(json.dumps(compared, allow_nan=False)) == compared


def test_equals_and_betters_are_told_as_such_with_their_cost(found: Any) -> None:
    compared = found(winner=0.85, nb_svm=0.85, tfidf_logreg=0.95, majority=0.5)
    outcomes = {row["against"]: row["outcome"] for row in compared["differences"]}
    assert outcomes == {"nb-svm": "none", "tfidf-logreg": "worse", "majority": "better"}
    sentences = [row["verdict"] for row in compared["differences"]]
    assert sentences[0].startswith("no significant gain over nb-svm (") and sentences[0].endswith(" of the cost")
    assert sentences[1].startswith("worse than tfidf-logreg by 9.7 points [")
    assert compared["verdict"].split("; ")[0] == sentences[1]
    assert compared["verdict"].endswith("; better than the other 1")


def test_the_same_study_under_other_seeds_shows_no_gain(found: Any) -> None:
    """A/A: the winner against itself."""
    compared = found(winner=0.85, rerun=0.85)
    assert compared["differences"][0]["outcome"] == "none"
    assert compared["verdict"].startswith("no significant gain over rerun (")


def test_single_runs_are_judged_by_mcnemar(found: Any) -> None:
    compared = found("final.seeds=[3]", winner=0.9, nb_svm=0.8)
    (row,) = compared["differences"]
    assert row["test"] == "exact McNemar" and row["p"] == row["mcnemar"]["p"]
    assert row["mcnemar"]["only_ours"] > row["mcnemar"]["only_theirs"] and row["p"] < 0.05


def test_the_cost_of_the_winner_holds_the_search(found: Any, searched: Path) -> None:
    compared = found(winner=0.9, nb_svm=0.8)
    search = find_study(open_storage(storage_url(load_study(searched))), "small")
    assert search
    spent = sum(trial.user_attrs["seconds"]["wall"] for trial in search.get_trials())
    ours, other = compared["systems"]
    assert ours["cost_seconds"] == pytest.approx(spent + 2.0) and other["cost_seconds"] == 1.0


def test_what_is_missing_and_what_was_used_is_told(found: Any, searched: Path) -> None:
    found(winner=0.9, nb_svm=0.8)
    spec = load_study(searched, ('final.baselines=["majority", "nb-svm"]',))
    compared = compare_study(spec, storage_url(spec))
    assert compared["missing"] == ["majority"] and len(compared["systems"]) == 2
    uses = compared["test_uses"]
    assert uses["count"] == 5 and uses["elsewhere"] == {}, "three runs, two comparisons"
    optimism = compared["optimism"]
    search = find_study(open_storage(storage_url(spec)), "small")
    assert search and optimism["search"] == search.best_value and optimism["validation"]["mean"] == 15 / 32
    assert optimism["optimism"]["validation"] == pytest.approx(search.best_value - 15 / 32)


def test_two_comparisons_of_the_same_runs_agree_to_the_digit(found: Any, searched: Path) -> None:
    first = found(winner=0.9, nb_svm=0.88)
    spec = load_study(searched, ('final.baselines=["nb-svm"]',))
    second = compare_study(spec, storage_url(spec))
    del first["test_uses"], second["test_uses"]
    assert first == second


def test_no_baseline_is_no_verdict() -> None:
    assert describe_comparison({"differences": []}).startswith("no baseline was run")


@pytest.mark.parametrize(
    ("value", "objective", "text"),
    [(0.0084, "accuracy", "0.8"), (-0.0001, "accuracy", "0.0"), (-0.0123, "log_loss", "-0.0123")],
)
def test_differences_are_written_as_people_read_them(value: float, objective: str, text: str) -> None:
    assert format_difference(value, objective) == text
