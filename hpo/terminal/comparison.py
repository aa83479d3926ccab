"""The verdict as tables that fit 80 columns."""

from __future__ import annotations

from textwrap import fill
from typing import Any

from hpo.output import told
from hpo.terminal.columns import PAPER, Column, print_columns
from hpo.terminal.words import out, say

MOST_CLASSES = 6  # with more, classes are for --json


def print_comparison(found: dict[str, Any]) -> None:
    """The verdict as tables that fit 80 columns: gains and costs, scores, classes, and what the search promised."""
    rows = found["rows"]
    say(
        f"{found['study']}: {found['objective']} on {rows['test']:,} test rows; trained on "
        f"{found['trained_on']} ({rows['train']:,} train and {rows['validation']:,} validation rows)"
    )
    _print_table(told.gains(found))
    say(fill(told.reading(found["objective"]), PAPER) + "\n")
    _print_table(told.scores(found))
    if len(found["labels"]) > MOST_CLASSES:
        say(f"{len(found['labels'])} classes: scores of each and the confusion are in hpo compare --json\n")
    else:
        _print_table(told.classes(found))
    for line in [*told.optimism(found), *told.remarks(found)]:
        say(line)
    for row in found["differences"]:
        say(f"- {row['verdict']}")
    say(f"verdict: {found['verdict']}", style="bold")


def _print_table(shown: told.Rows) -> None:
    cells = zip(*shown.rows, strict=True)
    print_columns(
        [
            Column(head, column, words=place < shown.words, kept=place < shown.words)
            for place, (head, column) in enumerate(zip(shown.heads, cells, strict=True))
        ]
    )
    out.print()
