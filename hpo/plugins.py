"""Entry points of separately installed packages that extend hpo."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points


@cache
def load_entry_points(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group such as `hpo.metrics` by name; callers call `.load()` on what they need."""
    return {entry.name: entry for entry in entry_points(group=group)}
