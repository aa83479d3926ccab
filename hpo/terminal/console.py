"""The consoles for standard output and standard error, and the colours of outcomes."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

out, err = Console(highlight=False), Console(stderr=True, highlight=False)
# Others are red.
OUTCOME_STYLES = {"complete": "green", "pruned": "yellow", "running": "cyan", "waiting": "dim", "paused": "dim"}


def print_line(text: str, style: str = "", whole: bool = False) -> None:
    """Print a line on standard output.

    In a terminal it is wrapped between words, unless `whole` is true because it holds a path or a command to copy. In
    a pipe it is never wrapped.
    """
    out.print(Text(text, style=style), soft_wrap=whole or not out.is_terminal)


def outcome_style(outcome: str) -> str:
    """Return the rich style in which an outcome is displayed."""
    return OUTCOME_STYLES.get(outcome, "red")
