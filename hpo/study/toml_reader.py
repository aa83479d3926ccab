"""TOML -> a table, and what pydantic finds wrong in it -> one line about one key."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from hpo.errors import SpecError, unknown_name


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file. Raises SpecError where there is no such file or no TOML in it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SpecError(path, "", "no such file; `hpo init DIR` writes a starter study") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(path, "", f"cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(path, "", f"is not TOML: {error}") from None


def spec_error(file: Path, error: ValidationError, model: type[BaseModel]) -> SpecError:
    """The first of pydantic's complaints, as one line about one key."""
    # Of a number that is none, the union of integer and float would complain that it is no integer.
    first = next((each for each in error.errors() if each["type"] == "finite_number"), error.errors()[0])
    *before, end = first["loc"] or ("",)
    place = [part for part in before if not _is_union_tag(part)]
    if first["type"] in {"extra_forbidden", "missing"} or not _is_union_tag(end):
        place.append(end)  # a user's own key may look like pydantic's name of a type
    key = ".".join(map(str, place))
    if first["type"] == "extra_forbidden":
        return SpecError(file, key, unknown_name(str(place[-1]), _known_keys(model, place[:-1])))
    if first["type"] == "missing":
        return SpecError(file, key, "is missing")
    message = first["msg"].removeprefix("Value error, ")
    got = first["input"]
    if isinstance(got, dict | BaseModel) and first["type"] == "value_error":
        return SpecError(file, key, message)
    return SpecError(file, key, f"is {json.dumps(got, default=str)}; {message[:1].lower() + message[1:]}")


def _is_union_tag(part: Any) -> bool:
    """pydantic names the tried member of a union in an error's place; a reader does not know these names."""
    return isinstance(part, str) and bool(re.match(r"[A-Z]|.*\[|constrained-|(int|float|str)$", part))


def _known_keys(model: type[BaseModel], place: list[Any]) -> list[str]:
    """The keys of the table at `place` below a model."""
    for part in place:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            continue
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        models = [each for each in inner if isinstance(each, type) and issubclass(each, BaseModel)]
        if models:
            model = models[0]
    return [name for name, field in model.model_fields.items() if not field.exclude]
