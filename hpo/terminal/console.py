"""The two consoles, the colours of endings, and a line of text."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

out, err = Console(highlight=False), Console(stderr=True, highlight=False)
OUTCOME_STYLES = {"complete": "green", "pruned": "yellow", "running": "cyan", "waiting": "dim"}


def print_line(text: str, style: str = "", whole: bool = False) -> None:
    """A line on standard output.

    A terminal's is broken between words, unless it is to stay `whole` because someone copies a path or a command out of
    it; a line that is piped is never broken.
    """
    out.print(Text(text, style=style), soft_wrap=whole or not out.is_terminal)
