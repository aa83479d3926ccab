"""Read TOML files, and turn pydantic's validation errors into one line about one key."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from hpo.errors import SpecError, shorten, unknown_name


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises SpecError if there is no such file or it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SpecError(path, "", "no such file; `hpo init DIR` writes a starter study") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(path, "", f"cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(path, "", f"is not TOML: {error}") from None


def spec_error(file: Path, error: ValidationError, model: type[BaseModel]) -> SpecError:
    """Return the first of pydantic's errors as one line about one key."""
    problems = error.errors()
    # A union of integer and float reports of inf and nan first that they are no integer, which is not the problem.
    first = next((problem for problem in problems if problem["type"] == "finite_number"), problems[0])
    *parents, last = first["loc"] or ("",)
    path = [part for part in parents if not _is_union_tag(part)]
    # Of an unknown or missing key the last part is the key itself, even if it looks like pydantic's name of a type.
    if first["type"] in {"extra_forbidden", "missing"} or not _is_union_tag(last):
        path.append(last)
    key = ".".join(map(str, path))
    if first["type"] == "extra_forbidden":
        return SpecError(file, key, unknown_name(str(last), _keys_of_table(model, parents)))
    if first["type"] == "missing":
        return SpecError(file, key, "is missing")
    message = first["msg"].removeprefix("Value error, ")
    if path[:1] == ["storage"]:
        return SpecError(file, key, "must be text, a storage URL")  # its value may hold a password
    got = first["input"]
    if isinstance(got, dict | BaseModel) and first["type"] == "value_error":
        return SpecError(file, key, message)
    return SpecError(file, key, f"is {shorten(json.dumps(got, default=str))}; {message[:1].lower() + message[1:]}")


def _is_union_tag(part: Any) -> bool:
    """Whether a part of pydantic's error location is the name of a union member, which users do not know."""
    return isinstance(part, str) and bool(re.match(r"[A-Z]|.*\[|constrained-|(int|float|str)$", part))


def _keys_of_table(model: type[BaseModel], location: list[Any]) -> list[str]:
    """Return the keys of the table at one of pydantic's error locations below a model."""
    tables: list[type[BaseModel]] = []
    for part in location:
        if field := model.model_fields.get(part):
            tables = list(_tables_within(field.annotation))
            model = tables[0] if tables else model
        else:  # an index, or the member of a union
            model = next((table for table in tables if table.__name__ == part), model)
    return [name for name, field in model.model_fields.items() if not field.exclude]


def _tables_within(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a field may hold, also within lists and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _tables_within(argument)
