"""The verdict as tables that fit 80 columns."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hpo.output import told
from hpo.terminal.words import out

MOST_CLASSES = 6  # with more, classes are for --json


def print_comparison(found: dict[str, Any]) -> None:
    """The verdict as tables that fit 80 columns: gains and costs, scores, classes, and what the search promised."""
    rows = found["rows"]
    out.print(
        f"{escape(found['study'])}: {found['objective']} on {rows['test']:,} test rows; trained on "
        f"{found['trained_on']} ({rows['train']:,} train and {rows['validation']:,} validation rows)",
        soft_wrap=True,
    )
    _print_table(told.gains(found))
    out.print(told.reading(found["objective"]) + "\n")
    _print_table(told.scores(found))
    if len(found["labels"]) > MOST_CLASSES:
        out.print(f"{len(found['labels'])} classes: scores of each and the confusion are in hpo compare --json\n")
    else:
        _print_table(told.classes(found))
    for line in [*told.optimism(found), *told.remarks(found)]:
        out.print(escape(line), soft_wrap=True)
    for row in found["differences"]:
        out.print(f"- {escape(row['verdict'])}", soft_wrap=True)
    out.print(Text(f"verdict: {found['verdict']}", style="bold"), soft_wrap=True)


def _print_table(shown: told.Rows) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for place, head in enumerate(shown.heads):
        table.add_column(escape(head), justify="left" if place < shown.words else "right", no_wrap=True)
    for row in shown.rows:
        table.add_row(*map(escape, row))
    out.print(table)
    out.print()
