"""Answers to a reader's questions: each follows from the differences, and nobody is advised to use a useless system."""

from __future__ import annotations

import pytest

from hpo.evaluation.comparison_result import ComparisonResult, DifferenceResult, EqualCost
from hpo.results.answers import answer_questions
from tests.evaluation.test_verdict import compare, difference


def answers(comparison: ComparisonResult) -> list[str]:
    return [answer.answer for answer in answer_questions(comparison)]


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        ("better", "Yes: better than the recipe by 2.0 points."),
        ("none", "Not measurably: not better than the recipe by more than 6.0 points."),
        ("worse", "No: the recipe is better by 3.0 points."),
    ],
)
def test_the_search_is_judged_by_the_recipe_alone(outcome: str, answer: str) -> None:
    search, *_ = answers(compare(difference("nb-svm", "worse"), difference("recipe", outcome)))
    assert search == answer


def test_the_search_paid_nothing_if_it_chose_the_recipe_and_is_not_judged_without_one() -> None:
    assert answers(compare(difference("recipe", same_runs=True)))[0].startswith("No gain: the search chose the recipe")
    assert answers(compare(difference("nb-svm", "better")))[0] == "Unknown: the baseline recipe was not run."


def test_single_runs_and_equal_cost_are_shown_beside_the_verdict() -> None:
    equal = EqualCost(affordable=12, voting=5, score=0.8212)
    result = compare(difference("recipe", "better", runs_won=0.84), recipe_at_equal_cost=equal)
    assert answer_questions(result)[0].evidence[1:] == [
        "in 84 % of the pairs of runs, the winner's is better on test (not tested)",
        "at equal cost: 12 runs of the recipe cost as much as the winner with its search; 5 of them voting score "
        "0.8212 on test, and take 5 times as long to predict",
    ]


@pytest.mark.parametrize(
    ("direction", "worst"), [("maximize", "0.8900 on test (seed 0)"), ("minimize", "0.9100 on test (seed 1)")]
)
def test_the_worst_run_of_winner_and_recipe_is_named(direction: str, worst: str) -> None:
    trust = answer_questions(compare(difference("recipe"), difference("nb-svm"), direction=direction))[3]
    assert trust.evidence[-2:] == [f"worst of 2 runs of winner: {worst}", f"worst of 2 runs of recipe: {worst}"]


def test_a_single_run_each_answers_nothing() -> None:
    single = difference("recipe", outcome="untested", seed_noise="unknown")
    assert answers(compare(single))[0].startswith("Not known: a single run each shows nothing about other seeds")


def test_fine_tuning_is_judged_by_the_strongest_system_that_is_not_fine_tuned() -> None:
    beaten = [difference("majority", "better", difference=0.4), difference("pretrained", "better")]
    assert answers(compare(difference("recipe", "worse"), *beaten))[1] == (
        "Yes: better than pretrained by 2.0 points, and better than 1 more that are not fine-tuned."
    )
    assert answers(compare(difference("nb-svm"), *beaten))[1].startswith("Not measurably: not better than nb-svm by")
    assert answers(compare(difference("recipe")))[1].startswith("Unknown")


def test_one_system_is_recommended() -> None:
    assert answers(compare(difference("recipe"), difference("majority")))[2] == "The winner."
    worse = compare(difference("recipe", "worse"), difference("nb-svm", "worse", difference=-0.05))
    assert answers(worse)[2] == "nb-svm, which is better."


def test_what_to_use_comes_with_the_commands_to_get_and_try_it() -> None:
    def commands(*differences: DifferenceResult) -> list[str]:
        comparison = compare(*differences).model_copy(update={"baseline_command": "hpo baseline 'my study.toml'"})
        return answer_questions(comparison)[2].commands

    assert commands(difference("recipe")) == ["hpo predict 'my study.toml' 'a text'"]
    assert commands(difference("nb-svm", "worse")) == [
        "hpo export 'my study.toml' --system nb-svm --output nb-svm",
        "hpo predict nb-svm 'a text'",
    ]
    assert commands(difference("in production", "worse")) == []  # its owner knows how to use it
    assert commands(difference("majority", "worse", difference=-0.03)) == []


def test_a_higher_score_is_recommended_even_if_it_may_be_chance() -> None:
    uncertain = difference("nb-svm", difference=-0.12, low=-3.0, high=2.8)
    use = answer_questions(compare(uncertain, difference("recipe")))[2]
    assert (
        use.answer
        == "nb-svm: it scores 12.0 points higher, although that may be chance; more seeds or test rows can tell."
    )
    assert use.commands[0] == "hpo export small.toml --system nb-svm --output nb-svm"
    within_margin = difference("nb-svm", difference=-0.004, low=-0.01, high=0.002)
    assert answers(compare(within_margin))[2] == "The winner."


def test_systems_that_people_have_are_a_question_of_their_own() -> None:
    result = compare(difference("vendor", "worse"), difference("nb-svm", "better"), difference("recipe", "better"))
    systems = [
        system.model_copy(update={"source": "sha256:0"}) if system.system == "vendor" else system
        for system in result.systems
    ]
    questions = answer_questions(result.model_copy(update={"systems": systems}))
    assert [each.question for each in questions][2] == "Is it better than vendor?"
    assert questions[2].answer == "No: vendor is better by 3.0 points." and questions[1].answer.startswith(
        "Yes: better"
    )
    assert questions[3].answer == "vendor, which is better." and questions[3].commands == []


def test_majority_is_never_recommended() -> None:
    for outcome, size in (("worse", -0.03), ("none", 0.0)):
        result = compare(difference("majority", outcome, difference=size), difference("recipe", "none"))
        assert answers(result)[2].startswith(
            "Nothing of this yet: on these rows, the most frequent class scores no less"
        )


def test_what_is_as_good_is_named_with_its_cost() -> None:
    use = answer_questions(compare(difference("nb-svm", high=0.004, difference=0.001, low=-0.002)))[2]
    assert use.answer == "The winner." and use.evidence[1] == (
        "nb-svm is not worse by more than 0.5 points either: accuracy 0.9000 +/- 0.0100 on test, cost 1.0 s"
    )


@pytest.mark.parametrize(
    ("share", "caution"),
    [
        (0.0, None),
        (0.005, None),  # a few short texts, which occur in unrelated data too
        (0.25, "other studies used 25.0% of the test rows"),
        (1.0, "other studies used all of the test rows"),
    ],
)
def test_caution_names_the_share_of_test_rows_that_other_studies_used(share: float, caution: str | None) -> None:
    result = compare(difference("recipe"))
    uses = result.test_uses.model_copy(update={"elsewhere": {"other": 2}, "shares": {"other": share}, "share": share})
    trust = answers(result.model_copy(update={"test_uses": uses}))[3]
    assert caution in trust if caution else "other studies" not in trust
