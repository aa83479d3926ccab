"""`--set key=value`: one key of a study file, overridden from the shell."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.errors import SpecError

_PATH_KEYS = {"data.source", "data.train", "data.validation", "data.test", "model.checkpoint", "space.file"}


def format_overrides(table: str, values: Mapping[str, Any]) -> list[str]:
    """Values of one table as overrides, `table.key=value`; those that are None are left out."""
    return [f"{table}.{key}={json.dumps(value)}" for key, value in values.items() if value is not None]


def is_space_content(override: str) -> bool:
    """Whether an override is about what stands in the search space, not about which file it is."""
    return override.startswith("space.") and not override.startswith("space.file=")


def apply_override(raw: dict[str, Any], override: str, path: Path) -> None:
    """Set one `key.path=value` in the raw table; the value is TOML where it reads as TOML, else a text."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise SpecError("--set", override, "must look like key=value, for example search.trials=10")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    if key in _PATH_KEYS and isinstance(value, str) and Path(value).exists():
        value = str(Path(value).resolve())  # typed in a shell, a path starts where the shell stands
    *parents, last = _parts(key, override)
    table = raw
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise SpecError("--set", override, f"cannot be: {parent} is no table in {path}")
    table[last] = value


def _parts(key: str, override: str) -> list[str]:
    """The parts of a dotted key, quoted ones too: `space.parameters."model.dropout".low`."""
    try:
        table: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        raise SpecError("--set", override, f"cannot be: {key} is no key") from None
    parts = []
    while isinstance(table, dict):
        part, table = next(iter(table.items()))
        parts.append(part)
    return parts
