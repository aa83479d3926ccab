"""The two consoles, and the colours of endings."""

from __future__ import annotations

from rich.console import Console

out, err = Console(highlight=False), Console(stderr=True, highlight=False)
STYLES = {"complete": "green", "pruned": "yellow", "running": "cyan", "waiting": "dim"}

