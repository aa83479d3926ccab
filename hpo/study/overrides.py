"""`--set key=value`: override one key of a study file from the command line."""

from __future__ import annotations

import datetime
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape, glob
from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.paths import expand_path
from hpo.study.storage_url import StorageUrl, hide_secrets

STORAGE = "storage"  # the key whose value may hold a password
_PATH_KEYS = {"data.source", "data.train", "data.validation", "data.test", "model.checkpoint", "space.file"}
_BASELINES = "final.baselines"
_PATH_KEYS |= {f"{_BASELINES}.model", f"{_BASELINES}.predictions"}  # of its tables


@dataclass(frozen=True)
class Override:
    """One `key=value`, parsed. Its text is written from the parsed parts, so it holds nothing else."""

    parts: tuple[str, ...]  # of the dotted key
    value: Any

    @classmethod
    def parse(cls, text: str) -> Override:
        """Parse `key=value`. The value is TOML; what is not TOML is text."""
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise SpecError("--set", hide_secrets(text), "must look like key=value, for example search.trials=10")
        parts = _split_key(key.strip())
        try:
            return cls(parts, _parse_value(value))
        except ValueError as error:
            raise SpecError("--set", key.strip(), str(error)) from None

    @property
    def key(self) -> str:
        """The dotted key, quoted where TOML needs it."""
        return ".".join(map(_format_key, self.parts))

    @property
    def has_secret(self) -> bool:
        """Whether the value may hold a password, so that it must be neither stored nor shown."""
        return self.parts[0] == STORAGE

    @property
    def changes_space(self) -> bool:
        """Whether it changes the content of the search space, not the file that it is read from."""
        return self.parts[0] == "space" and self.parts != ("space", "file")

    def __str__(self) -> str:
        return format_override(self.key, self.value)

    def apply(self, raw: dict[str, Any], path: Path) -> None:
        """Set the key in the raw table of the study file at `path`.

        Paths start at the current folder, see `_resolve_typed`.
        """
        *parents, last = self.parts
        table = raw
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise SpecError("--set", self.key, f"is not possible: {parent} is not a table in {path}")
        table[last] = _resolve_typed(self.key, self.value)


def format_override(key: str, value: Any) -> str:
    """Return `key=value` such that `Override.parse` reads the same value back.

    Text is quoted unless it is read as text without: TOML reads a bare 2026-11-27, 12 or true as a date, a number or a
    boolean.
    """
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z./~_][\w./~:+-]*", value) and _parse_value(value) == value:
        return f"{key}={value}"
    return f"{key}={_format_toml(value)}"


def format_overrides(table: str, values: Mapping[str, Any]) -> list[str]:
    """Return the values of one table as overrides, `table.key=value`; values that are None are left out."""
    return [format_override(f"{table}.{key}", value) for key, value in values.items() if value is not None]


def public_overrides(texts: tuple[str, ...] | list[str]) -> list[str]:
    """Return overrides that may be stored and shown: all but the storage URL, which may hold a password."""
    overrides = map(Override.parse, texts)
    return [str(override) for override in overrides if not override.has_secret]


def mask_override(text: str) -> str:
    """Return an override for people who may not see passwords; the storage URL is shown without them."""
    override = Override.parse(text)
    if override.has_secret and isinstance(override.value, str):
        return format_override(override.key, StorageUrl.parse(override.value).text)
    return str(override)


def _parse_value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    if len(table) > 1:
        raise ValueError("has a value of several lines with other keys; give each key its own --set")
    value = table["value"]
    # No key of a study file holds a date or a time, but a study may be named after one: name=2026-11-27.
    return text.strip() if isinstance(value, datetime.date | datetime.time) else value


def _format_toml(value: Any) -> str:
    """Return a value as TOML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_format_key(key)} = {_format_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_format_toml, value)) + "]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


def _format_key(part: str) -> str:
    return part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else _format_toml(part)


def _resolve_typed(key: str, value: Any) -> Any:
    """Return the value with paths resolved against the current folder, because they were typed in a shell there.

    In the study file itself they start at the file's folder. A text that names no file in the current folder stays as
    it is: it may be a hub id, the name of a split, or a path from the study file's folder.
    """
    if isinstance(value, list):
        return [_resolve_typed(key, item) for item in value] if key in {*_PATH_KEYS, _BASELINES} else value
    if isinstance(value, dict) and key == _BASELINES:
        return {name: _resolve_typed(f"{key}.{name}", item) for name, item in value.items()}
    if not isinstance(value, str):
        return value
    if key == STORAGE:
        return StorageUrl.parse(value).connection
    return _resolve_path(value) if key in _PATH_KEYS else value


def _resolve_path(value: str) -> str:
    """Return the absolute path of a file, folder or glob pattern that exists from the current folder, else the text."""
    path = expand_path(value)
    if path.exists():
        return str(path.resolve())
    return str(Path(escape(str(Path.cwd())), path)) if glob(str(path), recursive=True) else value


def _split_key(key: str) -> tuple[str, ...]:
    """Return the parts of a dotted key, quoted ones too: `space.parameters."model.dropout".low`."""
    try:
        table: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        raise SpecError("--set", hide_secrets(key), "is not a valid key") from None
    parts = []
    while isinstance(table, dict):
        if len(table) != 1:
            raise SpecError("--set", hide_secrets(key), "is not a valid key")
        part, table = next(iter(table.items()))
        parts.append(part)
    return tuple(parts)
