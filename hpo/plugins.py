"""Entry points: names that separately installed packages add to the tables of this one."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points


def load_entry_points(group: str) -> dict[str, EntryPoint]:
    """Return the installed entry points of a group by name; none of them is imported yet."""
    return {entry_point.name: entry_point for entry_point in entry_points(group=group)}
