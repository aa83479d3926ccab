"""A table set in the room that there is: what does not fit is left out or cut, and said so."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from hpo.terminal.console import out, print_line

DEFAULT_WIDTH = 80  # columns that heads are stacked for, where nothing else limits them
MAX_CELL = 20  # columns of a cell that may be cut


@dataclass(frozen=True)
class Column:
    """A head and its cells, of which the first line of the table is the first."""

    head: str
    cells: Sequence[str]
    words: bool = False  # words stand left, numbers right
    kept: bool = False  # never left out, and its cells never cut
    styles: Sequence[str] = ()

    @property
    def width(self) -> int:
        """What its widest line takes."""
        return max(map(cell_len, [*self.head.split("\n"), *self.cells]))

    def stacked(self) -> Column:
        """The same with each word of the head on a line of its own."""
        return replace(self, head=re.sub("[_ ](?!%)", "\n", self.head))

    def cut(self) -> Column:
        """The same with its long cells cut, where they may be."""
        cells = self.cells if self.kept else [_cut(cell) for cell in self.cells]
        return self if cells == self.cells else replace(self, cells=cells)


def print_columns(columns: Sequence[Column], whole: str = "--json") -> None:
    """The columns as a table that fits the terminal, or the width in COLUMNS; piped, all of it.

    Where they do not fit, heads are stacked, gaps become smaller, long cells are cut, and in the end columns are left
    out from the right. What is lost is said below, and that `whole` shows it.
    """
    room, wanted, gap = _room(), list(columns), 2
    if _width(wanted, 1) > min(room, DEFAULT_WIDTH):
        wanted = [column.stacked() for column in wanted]
    if _width(wanted, 1) > room:
        wanted = [column.cut() for column in wanted]
    if _width(wanted, gap) > min(room, DEFAULT_WIDTH):
        gap = 1
    fitting = list(wanted)
    while _width(fitting, gap) > room and not all(column.kept for column in fitting):
        del fitting[max(place for place, column in enumerate(fitting) if not column.kept)]
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), width=_width(fitting, gap))
    for column in fitting:
        table.add_column(Text(column.head), justify="left" if column.words else "right", no_wrap=True)
    for row in zip(*(_texts(column) for column in fitting), strict=True):
        table.add_row(*row)
    out.print(table, soft_wrap=True)
    lost = [given.head for given, column in zip(columns, wanted, strict=True) if column not in fitting]
    if lost:
        print_line(f"no room for {', '.join(lost)}; a wider window or {whole} shows more")
    if any(cell.endswith("…") for column in fitting for cell in column.cells):
        print_line(f"… is cut; {whole} has it whole")


def _room() -> float:
    """The columns that a line may take: without end where nobody looks on a terminal."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdigit():
        return int(asked)
    return out.width if out.is_terminal else float("inf")


def _width(columns: Sequence[Column], gap: int) -> int:
    return sum(column.width for column in columns) + gap * (len(columns) - 1)


def _texts(column: Column) -> list[Text]:
    styles = column.styles or [""] * len(column.cells)
    return [Text(cell, style=style) for cell, style in zip(column.cells, styles, strict=True)]


def _cut(cell: str) -> str:
    return cell if cell_len(cell) <= MAX_CELL else set_cell_size(cell, MAX_CELL - 1) + "…"
