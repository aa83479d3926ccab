"""Print a table that fits the terminal, and say what was left out.

Rich measures and prints the columns. It would squeeze twenty hyperparameters into 80 characters; here columns
are left out from the right instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hpo.escaping import escape_controls
from hpo.terminal.console import out, print_line

DEFAULT_WIDTH = 80  # if a table is wider, its headings are stacked even if the line may be longer
MAX_CELL = 20  # width that longer cells are cut to, if the table does not fit otherwise


@dataclass(frozen=True)
class Column:
    """A heading and its cells, one per row."""

    heading: str
    cells: Sequence[str]
    is_text: bool = False  # text is aligned to the left, numbers to the right
    is_required: bool = False  # never left out, and its cells never cut
    styles: Sequence[str] = ()

    @property
    def lines(self) -> list[str]:
        """The cells on one line each: a line break in one would tear the table."""
        return [escape_controls(cell) for cell in self.cells]

    def is_cut(self) -> bool:
        """Whether a cell is longer than MAX_CELL and may be cut."""
        return not self.is_required and any(cell_len(cell) > MAX_CELL for cell in self.lines)


@dataclass(frozen=True)
class _Layout:
    gap: int = 2
    is_stacked: bool = False  # a heading has one line per word
    is_cut: bool = False


def print_columns(columns: Sequence[Column], full: str = "--json") -> None:
    """Print columns as a table that fits the terminal, or the width in COLUMNS; in a pipe, all of it.

    If they do not fit, headings are stacked, gaps narrowed, long cells cut, and finally columns left out from the
    right. What was lost is printed below, with the option or command `full` that shows it.
    """
    room = _line_width()
    comfortable = min(room, DEFAULT_WIDTH)
    layout, fitting = _Layout(gap=1), list(columns)
    if _width(fitting, layout) > comfortable:
        layout = _Layout(gap=1, is_stacked=True)
    if _width(fitting, layout) > room:
        layout = _Layout(gap=1, is_stacked=True, is_cut=True)
    wider = _Layout(2, layout.is_stacked, layout.is_cut)
    if _width(fitting, wider) <= comfortable:
        layout = wider
    while _width(fitting, layout) > room and not all(column.is_required for column in fitting):
        fitting.remove([column for column in fitting if not column.is_required][-1])
    table = _build_table(fitting, layout)
    table.width = _width(fitting, layout)
    out.print(table, soft_wrap=True)
    if lost := [column.heading for column in columns if column not in fitting]:
        print_line(f"no room for {', '.join(lost)}; a wider window or {full} shows more")
    if layout.is_cut and any(column.is_cut() for column in fitting):
        print_line(f"… marks a cell that was cut; {full} shows all of it")


def _line_width() -> float:
    """Return the width of a line, which is unlimited unless someone reads it in a terminal."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit():
        return int(columns)
    return out.width if out.is_terminal else float("inf")


def _width(columns: Sequence[Column], layout: _Layout) -> int:
    unlimited = out.options.update(width=100_000)
    return Measurement.get(out, unlimited, _build_table(columns, layout)).maximum


def _build_table(columns: Sequence[Column], layout: _Layout) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, layout.gap, 0, 0))
    for column in columns:
        # "%" belongs to the word before it: "95 % interval" has two lines.
        heading = escape_controls(column.heading)
        heading = re.sub("[_ ](?!%)", "\n", heading) if layout.is_stacked else heading
        table.add_column(
            Text(heading),
            justify="left" if column.is_text else "right",
            no_wrap=True,
            overflow="ellipsis",
            max_width=MAX_CELL if layout.is_cut and column.is_cut() else None,
        )
    for row in zip(*(_styled_cells(column) for column in columns), strict=True):
        table.add_row(*row)
    return table


def _styled_cells(column: Column) -> list[Text]:
    styles = column.styles or [""] * len(column.cells)
    return [Text(cell, style=style) for cell, style in zip(column.lines, styles, strict=True)]
