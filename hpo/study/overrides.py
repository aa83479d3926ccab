"""`--set key=value`: override one key of a study file from the command line."""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Mapping
from glob import glob
from pathlib import Path
from typing import Any

from hpo.errors import SpecError

_PATH_KEYS = {"data.source", "data.train", "data.validation", "data.test", "model.checkpoint", "space.file"}
_SQLITE = "sqlite:///"


def format_override(key: str, value: Any) -> str:
    """Return `key=value` such that `apply_override` reads the same value back.

    Text is always quoted: TOML reads a bare 2026-11-27, 12 or true as a date, a number or a boolean.
    """
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def format_overrides(table: str, values: Mapping[str, Any]) -> list[str]:
    """Return the values of one table as overrides, `table.key=value`; values that are None are left out."""
    return [format_override(f"{table}.{key}", value) for key, value in values.items() if value is not None]


def is_space_content(override: str) -> bool:
    """Whether an override changes the content of the search space, not the file that it is read from."""
    return override.startswith("space.") and not override.startswith("space.file=")


def apply_override(raw: dict[str, Any], override: str, path: Path) -> None:
    """Set one `key.path=value` in the raw table of the study file at `path`.

    The value is parsed as TOML; what is not TOML is text. Paths start at the current folder, see `_resolve_typed`.
    """
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise SpecError("--set", override, "must look like key=value, for example search.trials=10")
    *parents, last = _split_key(key, override)
    table = raw
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise SpecError("--set", override, f"is not possible: {parent} is not a table in {path}")
    table[last] = _resolve_typed(key, _parse_value(text))


def resolve_sqlite_url(url: str, folder: Path) -> str:
    """Return an SQLite URL with a relative path as one with an absolute path, and any other URL unchanged."""
    file = url.removeprefix(_SQLITE)
    if not url.startswith(_SQLITE) or file.startswith("/") or file in ("", ":memory:"):
        return url
    return f"{_SQLITE}{(folder / file).resolve()}"


def _parse_value(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
    # No key of a study file holds a date or a time, but a study may be named after one: name=2026-11-27.
    return text.strip() if isinstance(value, datetime.date | datetime.time) else value


def _resolve_typed(key: str, value: Any) -> Any:
    """Return the value with paths resolved against the current folder, because they were typed in a shell there.

    In the study file itself they start at the file's folder. A text that names no file in the current folder stays as
    it is: it may be a hub id, the name of a split, or a path from the study file's folder.
    """
    if isinstance(value, list):
        return [_resolve_typed(key, item) for item in value] if key in _PATH_KEYS else value
    if not isinstance(value, str):
        return value
    if key == "storage":
        return resolve_sqlite_url(value, Path.cwd())
    return _resolve_path(value) if key in _PATH_KEYS else value


def _resolve_path(value: str) -> str:
    """Return the absolute path of a file, folder or glob pattern that exists from the current folder, else the text."""
    path = Path(value).expanduser()
    if path.exists():
        return str(path.resolve())
    return str(Path.cwd() / path) if glob(str(path), recursive=True) else value


def _split_key(key: str, override: str) -> list[str]:
    """Return the parts of a dotted key, quoted ones too: `space.parameters."model.dropout".low`."""
    try:
        table: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        raise SpecError("--set", override, f"is not possible: {key} is not a valid key") from None
    parts = []
    while isinstance(table, dict):
        part, table = next(iter(table.items()))
        parts.append(part)
    return parts
