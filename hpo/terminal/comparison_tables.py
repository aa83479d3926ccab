"""The verdict as tables that fit 80 columns."""

from __future__ import annotations

from textwrap import fill
from typing import Any

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

MAX_CLASSES = 6  # with more, classes are for --json


def print_comparison(found: dict[str, Any]) -> None:
    """The verdict as tables that fit 80 columns: gains and costs, scores, classes, and what the search promised."""
    rows = found["rows"]
    print_line(
        f"{found['study']}: {found['objective']} on {rows['test']:,} test rows; trained on "
        f"{found['trained_on']} ({rows['train']:,} train and {rows['validation']:,} validation rows)"
    )
    _print_table(gains_table(found))
    print_line(fill(explain_gains_table(found["objective"]), DEFAULT_WIDTH) + "\n")
    _print_table(scores_table(found))
    if len(found["labels"]) > MAX_CLASSES:
        print_line(f"{len(found['labels'])} classes: scores of each and the confusion are in hpo compare --json\n")
    else:
        _print_table(classes_table(found))
    for line in [*generalization_sentences(found), *comparison_remarks(found)]:
        print_line(line)
    for row in found["differences"]:
        print_line(f"- {row['verdict']}")
    print_line(f"verdict: {found['verdict']}", style="bold")


def _print_table(shown: TextTable) -> None:
    cells = zip(*shown.rows, strict=True)
    print_columns(
        [
            Column(head, column, is_text=place < shown.words, is_required=place < shown.words)
            for place, (head, column) in enumerate(zip(shown.heads, cells, strict=True))
        ]
    )
    out.print()
