"""The table of study-file keys in the documentation, generated from StudySpec."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hpo.study.spec import StudySpec

TABLES = ("data", "model", "search", "final", "report")


def build_reference() -> str:
    """Return a Markdown table of key, default and description, in the order of the file."""
    rows = ["| key | default | |", "|---|---|---|"]
    for name, field in StudySpec.model_fields.items():
        if name in TABLES and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            rows += [_format_row(f"{name}.{key}", inner) for key, inner in field.annotation.model_fields.items()]
        elif field.description and not field.exclude:
            rows.append(_format_row(name, field))
    rows.append("| `space.file` | | File of the search space; keys next to it in the table take precedence |")
    return "\n".join(rows)


def _format_row(key: str, field: FieldInfo) -> str:
    return f"| `{key}` | {_format_default(field)} | {field.description} |"


def _format_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default if field.default is not PydanticUndefined else None
    if isinstance(value, BaseModel):
        value = value.model_dump()["name"]
    return "" if value is None or value == "" else f"`{json.dumps(value)}`"
