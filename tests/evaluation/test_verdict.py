"""Sentences about a comparison: each says what it is about, in which unit, and relative to what."""

from __future__ import annotations

from typing import Any

import pytest

from hpo.evaluation.comparison_result import (
    ComparisonResult,
    DifferenceResult,
    GapPerSplit,
    Generalization,
    LostGain,
    McNemarResult,
    RunFailures,
    SearchProgressResult,
    SeedSummary,
    SplitUse,
    SplitUses,
    SystemResult,
    WinnerResult,
)
from hpo.evaluation.verdict import describe_comparison, describe_difference, format_amount, format_difference
from hpo.results.formatting import comparison_remarks, generalization_sentences

OUTCOMES = {"better": 0.02, "none": 0.019, "untested": 0.019, "worse": -0.03}


def summary(mean: float) -> SeedSummary:
    return SeedSummary(mean=mean, sd=0.01, values=[mean - 0.01, mean + 0.01])


def system(name: str, cost: float) -> SystemResult:
    return SystemResult(
        system=name,
        description="a linear probe" if name == "pretrained" else None,
        values={},
        runs=[0, 1],
        seeds=[0, 1],
        failed=[],
        validation=None,
        test={"accuracy": summary(0.9)},
        per_class={},
        confusion=[],
        cost_seconds=cost,
        texts_per_second=100.0,
    )


def difference(name: str, outcome: str = "none", **changes: Any) -> DifferenceResult:
    size = OUTCOMES[outcome]
    ends = {"low": -0.022, "high": 0.06} if size == 0.019 else {"low": size - 0.01, "high": size + 0.01}
    fields: dict[str, Any] = {
        "same_runs": False,
        "difference": size,
        **ends,
        "standard_error": 0.01,
        "df": 4.0,
        "p": 0.2 if outcome == "none" else 0.001,
        "p_holm": 0.4 if outcome == "none" else 0.002,
        "test": "paired bootstrap over rows and seeds",
        "mcnemar": McNemarResult(only_ours=1, only_theirs=1, p=1.0),
    }
    return DifferenceResult(against=name, outcome=outcome, **fields | changes)


def compare(*differences: DifferenceResult, objective: str = "accuracy", **changes: Any) -> ComparisonResult:
    """Return a comparison with these differences and their sentences; a fit costs 1 s, the winner's search 8 more."""
    failures = changes.pop("failures", {})
    costs = changes.pop("costs", {})
    systems = [system("winner", 9.0), *(system(each.against, costs.get(each.against, 1.0)) for each in differences)]
    fields: dict[str, Any] = {
        "study": "small",
        "objective": objective,
        "direction": "maximize",
        "labels": ["negative", "positive"],
        "rows": {"train": 10, "validation": 10, "test": 10},
        "trained_on": "train",
        "winner": WinnerResult(trial=3, values={}),
        "search": SearchProgressResult(finished=20, wanted=20),
        "systems": [each.model_copy(update={"failures": failures.get(each.system)}) for each in systems],
        "differences": list(differences),
        "missing": [],
        "failed": {},
        "baseline_command": "hpo baseline small.toml",
        "generalization": Generalization(
            search=0.91,
            chosen_among=1,
            validation=summary(0.888),
            test=summary(0.932),
            gap=GapPerSplit(validation=0.022, test=-0.022),
        ),
        "test_uses": SplitUses(count=3, first="2026-11-27T17:14:51.459+00:00", studies=[], elsewhere={}, entries=[]),
    }
    result = ComparisonResult(**fields | changes)
    described = [each.model_copy(update={"verdict": describe_difference(each, result)}) for each in result.differences]
    return result.model_copy(update={"differences": described})


def test_sentence_about_one_baseline_names_size_and_interval() -> None:
    result = compare(difference("recipe"), difference("majority", "better"), difference("nb-svm", "worse"))
    assert [each.verdict for each in result.differences] == [
        "not better than recipe by more than 6.0 points (+1.9 points, 95 % CI [-2.2, 6.0])",
        "better than majority by 2.0 points (95 % CI [1.0, 3.0])",
        "worse than nb-svm by 3.0 points (95 % CI [2.0, 4.0])",
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"outcome": "untested", "seed_noise": "unknown"},
            "untested against recipe (+1.9 points, 95 % CI [-2.2, 6.0]; over test rows only): a single run each, and "
            "other seeds may reverse it; set final.seeds to 3 or more",
        ),
        (
            {"seed_noise": "borrowed"},
            "95 % CI [-2.2, 6.0]; one side has a single run, assumed to vary between seeds as much as the other)",
        ),
        ({"low": -0.004}, "95 % CI [-0.4, 6.0]), and not worse by more than 0.5 points"),
        ({"same_runs": True}, "the search chose the values of recipe itself, so both have the same runs"),
    ],
)
def test_sentence_says_what_the_interval_covers(changes: dict[str, Any], sentence: str) -> None:
    assert compare(difference("recipe", **changes)).differences[0].verdict.endswith(sentence)


def test_verdict_names_the_hardest_baseline_first_and_counts_the_beaten_ones() -> None:
    beaten = [difference(name, "better") for name in ("majority", "bow-forest", "tfidf-logreg")]
    result = compare(*beaten, difference("recipe"), difference("nb-svm", difference=0.03))
    assert describe_comparison(result) == (
        "not better than recipe by more than 6.0 points (+1.9 points, 95 % CI [-2.2, 6.0]); "
        "no difference from nb-svm was found either; better than the 3 other baselines"
    )


def test_verdict_names_a_single_beaten_baseline() -> None:
    result = compare(difference("recipe"), difference("majority", "better"))
    assert describe_comparison(result).endswith("[-2.2, 6.0]); better than majority")


def test_verdict_joins_several_better_baselines_by_name() -> None:
    result = compare(*(difference(name, "worse") for name in ("recipe", "nb-svm", "pretrained")))
    assert describe_comparison(result).endswith("; also worse than nb-svm and pretrained")


@pytest.mark.parametrize(
    ("names", "start"),
    [
        (["majority"], "better than majority by 2.0 points"),
        (["majority", "recipe"], "better than both baselines; the smallest gain: better than majority by 2.0 points"),
        (["majority", "recipe", "nb-svm"], "better than all 3 baselines; the smallest gain: better than majority by"),
    ],
)
def test_verdict_of_a_winner_that_beats_all(names: list[str], start: str) -> None:
    result = compare(*(difference(name, "better") for name in names))
    assert describe_comparison(result).startswith(start)


def test_verdict_reports_the_aa_check_and_failed_runs_last() -> None:
    failures = RunFailures(runs=4, failed=1, collapsed=[3], rate_below=0.902, mean_without=0.913)
    result = compare(difference("recipe", "better"), difference("rerun"), failures={"recipe": failures})
    assert describe_comparison(result) == (
        "better than recipe by 2.0 points (95 % CI [1.0, 3.0]); A/A check: not better than rerun by more than "
        "6.0 points (+1.9 points, 95 % CI [-2.2, 6.0]); 1 of 4 runs of recipe failed and have no score; 1 of 4 runs of "
        "recipe predict one class for every text (mean without them: 0.9130); 4 runs cannot exclude a failure rate "
        "below 90 %"
    )


def test_verdict_without_baselines_says_so() -> None:
    assert describe_comparison(compare()).startswith("no baseline was run")


@pytest.mark.parametrize(
    ("value", "objective", "text"),
    [(0.0084, "accuracy", "0.8"), (-0.0001, "accuracy", "0.0"), (-0.0123, "log_loss", "-0.0123")],
)
def test_differences_are_formatted_in_the_metrics_unit(value: float, objective: str, text: str) -> None:
    assert format_difference(value, objective) == text


def test_amounts_have_a_unit_unless_the_metric_is_a_loss() -> None:
    assert format_amount(0.0084, "accuracy") == "0.8 points" and format_amount(0.0123, "log_loss") == "0.0123"


def test_generalization_gap_says_on_which_side_the_search_is() -> None:
    (sentence,) = generalization_sentences(compare())
    assert sentence == (
        "best validation score of the search: 0.9100; retrained with 2 fresh seeds: 0.8880 +/- 0.0100 on validation "
        "(generalization gap 2.2 points) and 0.9320 +/- 0.0100 on test "
        "(generalization gap -2.2 points: the fresh seeds score better than the search)"
    )


def test_generalization_sentences_warn_of_chosen_and_trained_on_validation() -> None:
    result = compare()
    changes = {"validation": None, "gap": GapPerSplit(validation=None, test=0.01), "chosen_among": 3}
    changed = result.model_copy(update={"generalization": result.generalization.model_copy(update=changes)})
    _, chosen, trained = generalization_sentences(changed)
    assert chosen.startswith("the winner was chosen among the 3 best trials by runs with other seeds")
    assert trained == "the final runs were trained on the validation rows too, so there is no validation score"


def test_baselines_that_tune_on_train_are_named() -> None:
    remarks = comparison_remarks(compare(difference("tfidf-logreg-tuned"), difference("recipe")))
    assert remarks[0] == (
        "baseline tfidf-logreg-tuned chose by cross-validation on train, where the search chose by the 10 validation "
        "rows besides"
    )


@pytest.mark.parametrize(
    ("low", "ending"),
    [(0.001, "1.2 points lost (95 % CI [0.1, 2.3])"), (-0.001, "[-0.1, 2.3]), so a loss is not certain")],
)
def test_lost_gain_is_described_with_its_interval(low: float, ending: str) -> None:
    result = compare(difference("recipe"))
    lost = LostGain(promised=0.021, kept=0.009, lost=0.012, low=low, high=0.023)
    gap = result.generalization.model_copy(update={"lost_gain": lost})
    _, sentence, *_ = generalization_sentences(result.model_copy(update={"generalization": gap}))
    assert sentence.startswith(
        "the search promised a gain of 2.1 points over the recipe on validation, of which 0.9 points are left on test: "
    )
    assert sentence.endswith(ending)


def test_remarks_list_what_limits_the_comparison() -> None:
    result = compare(
        difference("pretrained"),
        search=SearchProgressResult(finished=7, wanted=20),
        missing=["recipe"],
        failed={"nb-svm": "error: MemoryError"},
        test_uses=SplitUses(
            count=3,
            first="2026-11-27T17:14:51.459+00:00",
            studies=[],
            elsewhere={"other": 2, "third": 1},
            shares={"other": 0.5},  # of a JSON without shares, it is the whole split
            entries=[SplitUse(when="", command="", spec_hash="", test="", run=run) for run in (0, 1, None)],
        ),
    )
    assert comparison_remarks(result) == [
        "the search is not finished: 7 of 20 trials",
        "baseline recipe has not been run; `hpo baseline small.toml recipe` runs it",
        "baseline nb-svm: every run failed: error: MemoryError",
        "pretrained: a linear probe",
        "the test split was used 3 times since 2026-11-27 17:14 UTC: 2 times to score a run, otherwise to show a "
        "comparison; if anything was changed after one, the scores are too favorable",
        "study other also used 50.0% of the test rows, 2 times",
        "study third also used all of the test rows, once",
    ]
