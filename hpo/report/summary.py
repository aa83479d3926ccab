"""The first sections of the report: the verdict, the best configuration, and the comparison with baselines."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hpo.errors import HpoError
from hpo.evaluation.comparison_result import ComparisonResult, DifferenceResult, SystemResult
from hpo.evaluation.verdict import format_amount
from hpo.report.blocks import Block, BulletList, Code, Paragraph, QuestionAnswer, Section, Table, figure_blocks
from hpo.results.best_config import best_config_python, best_config_toml
from hpo.results.formatting import (
    comparison_remarks,
    explain_gains_table,
    format_cost,
    format_mean_sd,
    format_outcomes,
    gains_table,
    generalization_sentences,
    scores_table,
)
from hpo.results.study_results import StudyResults
from hpo.study.spec import RERUN
from hpo.training.model_folder import INFO_FILE

FEW_SEEDS = 3  # with fewer, the spread between seeds is not known well enough
RECIPE = "recipe"  # the baseline with published values: what a user has without a search


def verdict_section(results: StudyResults) -> Section:
    """Answer the three questions of a reader: did the search pay, what to use, can the result be trusted."""
    anchor, title = "verdict", "The verdict"
    comparison = results.comparison
    if comparison is None:
        return Section(anchor, title, _without_comparison(results))
    deciding = [difference.verdict for difference in _deciding_differences(comparison)]
    return Section(
        anchor,
        title,
        [
            Paragraph(_summary_sentence(comparison)),
            QuestionAnswer("Did the search pay?", _did_search_pay(comparison), deciding),
            _what_to_use(results, comparison),
            _can_it_be_trusted(comparison),
        ],
    )


def configuration_section(results: StudyResults) -> Section:
    """Show the best configuration, ready to be copied."""
    try:
        blocks: list[Block] = [
            Code("best_config.toml", best_config_toml(results), "toml"),
            Code("The same in Python, without hpo", best_config_python(results), "python"),
        ]
    except HpoError as error:
        blocks = [Paragraph(f"There is no best configuration: {error}.")]
    return Section("configuration", "Best configuration", blocks)


def baselines_section(results: StudyResults) -> Section:
    """Compare the winner with each baseline: gains with confidence intervals, cost, and every metric."""
    anchor, title = "baselines", "Winner against baselines"
    comparison = results.comparison
    if comparison is None:
        return Section(anchor, title, [Paragraph("There is no comparison yet; see the verdict.")])
    rows = comparison.rows
    caption = (
        f"{comparison.objective} on {rows['test']:,} test rows; trained on {comparison.trained_on} "
        f"({rows['train']:,} train and {rows['validation']:,} validation rows)"
    )
    gains = "The winner's gain over each baseline, with 95 % confidence intervals"
    return Section(
        anchor,
        title,
        [
            Table(caption[0].upper() + caption[1:], gains_table(comparison)),
            Paragraph(explain_gains_table(comparison.objective)),
            *figure_blocks(results, "intervals", gains),
            BulletList([difference.verdict for difference in comparison.differences]),
            Table("Metrics on the test split, means over seeds", scores_table(comparison)),
            BulletList(comparison_remarks(comparison)),
        ],
    )


def _without_comparison(results: StudyResults) -> list[Block]:
    """Describe the state of a study that has no comparison yet."""
    blocks: list[Block] = [Paragraph(f"There is no verdict yet: {results.missing_reason}.", caution=True)]
    if results.best is not None:
        score = f"{results.objectives[0]} {results.best.value:.4f}"
        blocks.append(
            Paragraph(
                f"The best trial is #{results.best.number} with {score} on validation. It was selected for this score, "
                "so expect a lower one on new texts; retraining and baselines show how much lower."
            )
        )
    elif len(results.directions) > 1:
        blocks.append(Paragraph(f"The study has {len(results.directions)} objectives: no single trial is the best."))
    return [*blocks, Paragraph(f"Trials: {format_outcomes(results.status.outcomes)}.")]


def _summary_sentence(comparison: ComparisonResult) -> str:
    """Return the winner's score and cost, and the verdict."""
    winner = comparison.winner_system
    score = f"{comparison.objective} {_test_score(winner, comparison)} on {comparison.rows['test']:,} test rows"
    return f"The winner: {score}, for {format_cost(winner.cost_seconds)} of device time; {comparison.verdict}."


def _test_score(system: SystemResult, comparison: ComparisonResult) -> str:
    return format_mean_sd(system.test[comparison.objective])


def _hardest_first(comparison: ComparisonResult) -> list[DifferenceResult]:
    """Return the differences to the baselines by size, the smallest gain first; without a rerun of the winner."""
    differences = [difference for difference in comparison.differences if difference.against != RERUN]
    return sorted(differences, key=lambda difference: difference.difference)


def _deciding_differences(comparison: ComparisonResult) -> list[DifferenceResult]:
    """Return the differences that decide whether the search paid, the decisive one first.

    That is a baseline that is better than the winner; else one that the winner does not beat; else the recipe, or the
    baseline that is beaten by the least. Of several such baselines the recipe comes first, and it is always included:
    it is what a user has without a search.
    """
    differences = sorted(_hardest_first(comparison), key=lambda difference: difference.against != RECIPE)
    worse = _with_outcome(differences, "worse")
    even = _with_outcome(differences, "none")
    recipe = [difference for difference in differences if difference.against == RECIPE]
    decisive = (worse or even or recipe or differences)[:1]
    return decisive + [difference for difference in recipe if difference not in decisive]


def _with_outcome(differences: Sequence[DifferenceResult], outcome: str) -> list[DifferenceResult]:
    return [difference for difference in differences if difference.outcome == outcome]


def _did_search_pay(comparison: ComparisonResult) -> str:
    """Answer whether the winner beats what a user has without a search."""
    deciding = _deciding_differences(comparison)
    if not deciding:
        return "Unknown: no baseline was run."
    decisive = deciding[0]
    if decisive.outcome == "worse":
        return f"No: {decisive.against} is better."
    if any(difference.same_runs for difference in deciding):
        return "No gain: the search chose the recipe itself, and its values were known before."
    if decisive.outcome == "none":
        return f"Not measurably: no significant gain over {decisive.against}."
    gain = format_amount(decisive.difference, comparison.objective)
    others = len(_hardest_first(comparison)) - 1
    also = f", and better than {others} other{'s' * (others > 1)}" if others else ""
    return f"Yes: better than {decisive.against} by {gain}{also}."


def _what_to_use(results: StudyResults, comparison: ComparisonResult) -> QuestionAnswer:
    """Recommend the winner, unless a baseline is better, or as good and cheaper."""
    differences, winner = _hardest_first(comparison), comparison.winner_system
    worse = [difference.against for difference in _with_outcome(differences, "worse")]
    even = [difference.against for difference in _with_outcome(differences, "none") if not difference.same_runs]
    even.sort(key=lambda name: comparison.system(name).cost_seconds)
    facts = [f"the winner: trial #{comparison.winner.trial}, {_score_and_cost(winner, comparison)}"]
    facts += [f"{name}: {_score_and_cost(comparison.system(name), comparison)}" for name in (worse[:1] or even[:1])]
    folder = results.spec.model_folder
    if (folder / INFO_FILE).is_file():
        facts.append(f"the winner's model: try `hpo predict {shlex.quote(str(folder))} 'a text'`")
    if worse:
        answer = f"{worse[0]}, which is better."
    elif even:
        answer = f"The winner, or {even[0]}: no difference was found."
    else:
        answer = "The winner."
    return QuestionAnswer("What should I use?", answer, facts)


def _score_and_cost(system: SystemResult, comparison: ComparisonResult) -> str:
    score = _test_score(system, comparison)
    return f"{comparison.objective} {score} on test, cost {format_cost(system.cost_seconds)}"


def _can_it_be_trusted(comparison: ComparisonResult) -> QuestionAnswer:
    """List the evidence behind the comparison, and its weaknesses."""
    seeds, uses = len(comparison.winner_system.runs), comparison.test_uses.count
    cautions = {
        "too few seeds to estimate their spread": seeds < FEW_SEEDS,
        "baselines are missing": bool(comparison.missing or comparison.failed),
        "the search is not finished": comparison.search.finished < comparison.search.wanted,
        "some runs failed": any(system.failed for system in comparison.systems),
        "other studies used the same test rows": bool(comparison.test_uses.elsewhere),
    }
    applicable = [caution for caution, applies in cautions.items() if applies]
    answer = f"With caution: {', '.join(applicable)}." if applicable else "Yes, within its confidence intervals."
    seed_count = f"{seeds} fresh seeds" if seeds > 1 else "1 fresh seed"
    baselines = len(_hardest_first(comparison))
    evidence = (
        f"{seed_count}, {comparison.rows['test']:,} test rows that hpo used for no choice, "
        f"{baselines} baselines on the same rows"
    )
    ledger = f"the test split was used {uses} times, reports included; its ledger lists each use"
    return QuestionAnswer("Can I trust the result?", answer, [evidence, *generalization_sentences(comparison), ledger])
