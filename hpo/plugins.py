"""Find what other installed packages add to hpo through entry points.

A package adds an entry to one of hpo's tables with an entry point in its pyproject.toml:

    [project.entry-points."hpo.cleaners"]
    remove_emoji = "my_package.cleaning:remove_emoji"
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hpo.errors import HpoError


class PluginEntryPoint(EntryPoint):
    """An entry point whose `load` names the package if it fails."""

    def load(self) -> Any:
        try:
            return super().load()
        # An import runs the package's own code, which can raise anything.
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise HpoError(
                f"{describe_package(self)}: {self.group} entry point {self.name!r} ({self.value}) cannot be loaded: "
                f"{reason}; update or uninstall the package"
            ) from error


@cache
def load_entry_points(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group, such as `hpo.cleaners`, by name.

    Nothing is imported until the caller calls `load` on an entry point. Built-in entries win: callers look a name up
    in their own table first. Raises HpoError if two packages provide the same name.
    """
    plugins: dict[str, EntryPoint] = {}
    for entry_point in entry_points(group=group):
        other = plugins.get(entry_point.name)
        if other is not None and other.value != entry_point.value:
            packages = " and ".join(sorted((describe_package(other), describe_package(entry_point))))
            raise HpoError(f"{packages}: both provide {group} entry point {entry_point.name!r}; uninstall one of them")
        plugin = PluginEntryPoint(entry_point.name, entry_point.value, entry_point.group)
        # EntryPoint is immutable and takes no distribution; importlib.metadata itself sets it this way.
        vars(plugin)["dist"] = entry_point.dist
        plugins[entry_point.name] = plugin
    return plugins


def describe_package(entry_point: EntryPoint) -> str:
    """Return the name and version of the package that an entry point belongs to."""
    package = entry_point.dist
    return f"{package.name} {package.version}" if package else entry_point.module
