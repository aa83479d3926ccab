"""The first sections of the report: the verdict, the best configuration, and the comparison with baselines."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.errors import HpoError
from hpo.evaluation.comparison_result import ComparisonResult
from hpo.report.blocks import (
    Block,
    BulletList,
    Code,
    Paragraph,
    QuestionAnswer,
    Section,
    SectionLink,
    Table,
    figure_blocks,
)
from hpo.report.method import METHOD_ANCHOR, METHOD_TITLE
from hpo.results.answers import Answer, answer_questions
from hpo.results.best_config import best_config_python, best_config_toml
from hpo.results.formatting import (
    comparison_remarks,
    describe_uses,
    explain_gains_table,
    format_cost,
    format_mean_sd,
    format_outcomes,
    gains_table,
    generalization_sentences,
    scores_table,
)
from hpo.results.study_results import StudyResults


def verdict_section(results: StudyResults) -> Section:
    """Answer a reader's questions: did search and fine-tuning pay, what to use, can the result be trusted."""
    anchor, title = "verdict", "The verdict"
    comparison = results.comparison
    if comparison is None:
        return Section(anchor, title, _without_comparison(results))
    *answers, trust = answer_questions(comparison)
    return Section(
        anchor,
        title,
        [
            Paragraph(_summary_sentence(comparison)),
            *(_question(answer, [f"`{command}`" for command in answer.commands]) for answer in answers),
            _question(trust, [*generalization_sentences(comparison), describe_uses(comparison)]),
            SectionLink(METHOD_TITLE, METHOD_ANCHOR),
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
    gains = "The winner's gain over each baseline, with 95 % confidence intervals (corrected for their number)"
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
    score = f"{comparison.objective} {format_mean_sd(winner.test[comparison.objective])}"
    rows = f"{comparison.rows['test']:,} test rows"
    return (
        f"The winner: {score} on {rows}, for {format_cost(winner.cost_seconds)} of device time; {comparison.verdict}."
    )


def _question(answer: Answer, more: Sequence[str] = ()) -> QuestionAnswer:
    return QuestionAnswer(answer.question, answer.answer, [*answer.evidence, *more])
