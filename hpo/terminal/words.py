"""The two consoles, and how values and times are written for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

out, err = Console(highlight=False), Console(stderr=True, highlight=False)
STYLES = {"complete": "green", "pruned": "yellow", "running": "cyan", "waiting": "dim"}


def shown_value(value: Any) -> str:
    """A value with as many digits as a person reads."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def shown_values(values: Mapping[str, Any]) -> str:
    """`name=value`, one after the other."""
    return " ".join(f"{name}={shown_value(value)}" for name, value in values.items())


def shown_time(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
