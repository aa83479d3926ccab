"""A comparison in the terminal: tables that fit 80 columns, remarks and the verdict."""

from __future__ import annotations

from textwrap import fill

from hpo.evaluation.comparison_result import ComparisonResult
from hpo.results.answers import answer_questions
from hpo.results.formatting import (
    TextTable,
    classes_table,
    comparison_remarks,
    explain_gains_table,
    gains_table,
    generalization_sentences,
    scores_table,
)
from hpo.terminal.console import out, print_line
from hpo.terminal.table_layout import DEFAULT_WIDTH, Column, print_columns

MAX_CLASSES = 6  # with more classes, `hpo compare --json` has the table


def print_comparison(comparison: ComparisonResult) -> None:
    """Print a comparison: gains and costs, scores, classes, the generalization gap, remarks and verdicts."""
    rows = comparison.rows
    print_line(
        f"{comparison.study}: {comparison.objective} on {rows['test']:,} test rows; trained on "
        f"{comparison.trained_on} ({rows['train']:,} train and {rows['validation']:,} validation rows)"
    )
    print_table(gains_table(comparison))
    print_line(fill(explain_gains_table(comparison.objective), DEFAULT_WIDTH) + "\n")
    print_table(scores_table(comparison))
    if len(comparison.labels) > MAX_CLASSES:
        print_line(
            f"{len(comparison.labels)} classes: `hpo compare --json` has their scores and the confusion matrix\n"
        )
    else:
        print_table(classes_table(comparison))
    for line in [*generalization_sentences(comparison), *comparison_remarks(comparison)]:
        print_line(line)
    for difference in comparison.differences:
        print_line(f"- {difference.verdict}")
    print_line(f"verdict: {comparison.verdict}", style="bold")
    for answer in answer_questions(comparison):
        print_line(f"{answer.question} {answer.answer}")
        for command in answer.commands:
            print_line(f"- {command}")


def print_table(table: TextTable) -> None:
    """Print a table and an empty line."""
    columns = zip(*table.rows, strict=True)
    print_columns(
        [
            Column(heading, cells, is_text=index < table.words, is_required=index < table.words)
            for index, (heading, cells) in enumerate(zip(table.heads, columns, strict=True))
        ]
    )
    out.print()
