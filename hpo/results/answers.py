"""The questions of someone who reads a comparison, answered from it: was it worth it, what to use, how far to trust it.

Report and terminal show these answers as they are, so both say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hpo.evaluation.comparison_result import ComparisonResult, DifferenceResult, SystemResult
from hpo.evaluation.verdict import describe_failures, format_amount
from hpo.results.formatting import format_cost, format_mean_sd, format_test_share
from hpo.results.system_commands import system_commands
from hpo.study.spec_tables import RECIPE, RERUN, WINNER

FEW_SEEDS = 3  # with fewer, the spread between seeds is not known well enough
FEW_USES = 10  # of the test split; with more, choices made by its scores make them too favorable
SMALL_SHARE = 0.01  # of the test rows; short texts such as "good film" occur in unrelated data sets
MAJORITY = "majority"  # the baseline that no one should use


@dataclass(frozen=True)
class Answer:
    """A question, its answer in one sentence, the evidence, and the commands that follow from it."""

    question: str
    answer: str
    evidence: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


def answer_questions(comparison: ComparisonResult) -> list[Answer]:
    """Answer the questions of a reader, each with its evidence."""
    return [
        did_search_pay(comparison),
        did_fine_tuning_pay(comparison),
        *is_it_better_than_present(comparison),
        what_to_use(comparison),
        can_it_be_trusted(comparison),
    ]


def did_search_pay(comparison: ComparisonResult) -> Answer:
    """Answer whether the winner beats the published configuration, which a user has without a search."""
    question, recipe = "Did the search pay?", comparison.difference_to(RECIPE)
    if recipe is None:
        return Answer(question, f"Unknown: the baseline {RECIPE} was not run.")
    if recipe.same_runs:
        answer = "No gain: the search chose the recipe itself, and its values were known before."
    else:
        answer = _answer_for(recipe, "the recipe", comparison)
    return Answer(question, answer, [recipe.verdict, *_describe_recipe(recipe, comparison)])


def _describe_recipe(recipe: DifferenceResult, comparison: ComparisonResult) -> list[str]:
    """Describe single runs of the winner and the recipe, and what the recipe gives for the cost of the search."""
    facts = []
    if recipe.runs_won is not None:
        facts.append(
            f"in {recipe.runs_won:.0%} of the pairs of runs, the winner's is better on test (not tested)".replace(
                "%", " %"
            )
        )
    if equal := comparison.recipe_at_equal_cost:
        facts.append(
            f"at equal cost: {equal.affordable} runs of the recipe cost as much as the winner with its search; "
            f"{equal.voting} of them voting score {equal.score:.4f} on test, and take {equal.voting} times as long to "
            "predict"
        )
    return facts


def did_fine_tuning_pay(comparison: ComparisonResult) -> Answer:
    """Answer whether the winner beats every system that is not fine-tuned: word counts and frozen features."""
    question = "Did fine-tuning pay?"
    existing = set(_existing_systems(comparison))
    rivals = [each for each in comparison.rivals if each.against != RECIPE and each.against not in existing]
    if not rivals:
        return Answer(question, "Unknown: no other baseline was run.")
    decisive = _decisive(rivals)
    answer = _answer_for(decisive, decisive.against, comparison)
    if decisive.outcome == "better" and len(rivals) > 1:
        answer = f"{answer.removesuffix('.')}, and better than {len(rivals) - 1} more that are not fine-tuned."
    return Answer(question, answer, [decisive.verdict])


def is_it_better_than_present(comparison: ComparisonResult) -> list[Answer]:
    """Answer, for each system that the study file adds, whether the winner is better than what people have already."""
    differences = {each.against: each for each in comparison.differences}
    return [
        Answer(
            f"Is it better than {name}?",
            _answer_for(differences[name], name, comparison),
            [differences[name].verdict],
        )
        for name in _existing_systems(comparison)
    ]


def what_to_use(comparison: ComparisonResult) -> Answer:
    """Recommend one system: the winner, unless a baseline is better, or scores higher by more than the margin."""
    question, winner = "What should I use?", comparison.winner_system
    rivals = comparison.rivals
    facts = [f"the winner: trial #{comparison.winner.trial}, {_score_and_cost(winner, comparison)}"]
    worse = [each for each in rivals if each.outcome == "worse"]
    useless = [each for each in rivals if each.against == MAJORITY and each.difference <= 0]
    if useless:
        answer = "Nothing of this yet: on these rows, the most frequent class scores no less than the winner."
        return Answer(question, answer, [*facts, useless[0].verdict])
    if worse:
        best = min(worse, key=lambda each: each.difference).against
        facts.append(f"{best}: {_score_and_cost(comparison.system(best), comparison)}")
        return Answer(question, f"{best}, which is better.", facts, system_commands(comparison, best))
    if rivals and rivals[0].difference < -comparison.margin:
        best, size = rivals[0].against, format_amount(-rivals[0].difference, comparison.objective)
        facts.append(f"{best}: {_score_and_cost(comparison.system(best), comparison)}")
        answer = f"{best}: it scores {size} higher, although that may be chance; more seeds or test rows can tell."
        return Answer(question, answer, facts, system_commands(comparison, best))
    # What is as good and faster is worth knowing, but the winner is trained already.
    margin = format_amount(comparison.margin, comparison.objective)
    facts += [
        f"{each.against} is not worse by more than {margin} either: "
        f"{_score_and_cost(comparison.system(each.against), comparison)}"
        for each in rivals
        if each.outcome == "none" and each.high < comparison.margin and each.against != MAJORITY
    ]
    return Answer(question, "The winner.", facts, system_commands(comparison, WINNER))


def can_it_be_trusted(comparison: ComparisonResult) -> Answer:
    """List the weaknesses of the comparison, and the evidence behind it."""
    winner, uses = comparison.winner_system, comparison.test_uses
    seeds = len(winner.runs)
    cautions = {
        "too few seeds to estimate their spread": seeds < FEW_SEEDS,
        "baselines are missing": bool(comparison.missing or comparison.failed),
        "the search is not finished": comparison.search.finished < comparison.search.wanted,
        "some runs failed or predict one class": any(
            system.failures and system.failures.count for system in comparison.systems
        ),
        f"other studies used {format_test_share(uses.share)}": uses.share >= SMALL_SHARE,
        "the test split was looked at often": uses.count - _count_runs(comparison) > FEW_USES,
    }
    applicable = [caution for caution, applies in cautions.items() if applies]
    answer = (
        f"With caution: {', '.join(applicable)}." if applicable else "Yes, within its intervals, on these test rows."
    )
    seed_count = f"{seeds} fresh seeds" if seeds > 1 else "1 fresh seed"
    baselines = len([each for each in comparison.differences if each.against != RERUN])
    evidence = [
        f"{seed_count}, {comparison.rows['test']:,} test rows that hpo used for no choice, "
        f"{baselines} baselines on the same rows"
    ]
    if winner.failures:
        evidence.append(describe_failures(winner))
    evidence += [_describe_worst_run(system, comparison) for system in _fine_tuned(comparison)]
    return Answer("Can I trust the result?", answer, evidence)


def _existing_systems(comparison: ComparisonResult) -> list[str]:
    """Return the names of the systems that hpo did not train."""
    return [system.system for system in comparison.systems if system.source is not None]


def _fine_tuned(comparison: ComparisonResult) -> list[SystemResult]:
    """Return the winner and the recipe, if they have several runs."""
    names = (WINNER, RECIPE)
    return [system for system in comparison.systems if system.system in names and len(system.runs) > 1]


def _describe_worst_run(system: SystemResult, comparison: ComparisonResult) -> str:
    choose = min if comparison.direction == "maximize" else max
    scores = system.test[comparison.objective].values
    worst = choose(range(len(scores)), key=scores.__getitem__)
    return f"worst of {len(scores)} runs of {system.system}: {scores[worst]:.4f} on test (seed {system.seeds[worst]})"


def _answer_for(difference: DifferenceResult, name: str, comparison: ComparisonResult) -> str:
    """Answer whether the winner beats a system."""
    size = format_amount(abs(difference.difference), comparison.objective)
    if difference.outcome == "better":
        return f"Yes: better than {name} by {size}."
    if difference.outcome == "worse":
        return f"No: {name} is better by {size}."
    if difference.outcome == "untested":
        return f"Not known: a single run each shows nothing about other seeds (against {name})."
    return (
        f"Not measurably: not better than {name} by more than {format_amount(difference.high, comparison.objective)}."
    )


def _decisive(rivals: Sequence[DifferenceResult]) -> DifferenceResult:
    """Return the one that is better than the winner; else one that it does not beat; else the smallest gain."""
    order = ("worse", "untested", "none", "better")
    return min(rivals, key=lambda each: (order.index(each.outcome), each.difference))


def _count_runs(comparison: ComparisonResult) -> int:
    """Return how many uses of the test split are those of the compared runs themselves."""
    return sum(len(system.runs) for system in comparison.systems)


def _score_and_cost(system: SystemResult, comparison: ComparisonResult) -> str:
    score = format_mean_sd(system.test[comparison.objective])
    return f"{comparison.objective} {score} on test, cost {format_cost(system.cost_seconds)}"
