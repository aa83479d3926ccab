"""StudySpec -> the table of study-file keys in the README."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hpo.study.spec import StudySpec

TABLES = ("data", "model", "search", "final")


def reference() -> str:
    """Markdown: key, default, and what it means, in the order of the file."""
    rows = ["| key | default | |", "|---|---|---|"]
    for name, field in StudySpec.model_fields.items():
        if name in TABLES and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            rows += [_row(f"{name}.{key}", inner) for key, inner in field.annotation.model_fields.items()]
        elif field.description and not field.exclude:
            rows.append(_row(name, field))
    rows.append("| `space.file` | | The search space; keys beside it come on top of the file |")
    return "\n".join(rows)


def _row(key: str, field: FieldInfo) -> str:
    return f"| `{key}` | {_default(field)} | {field.description} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value: Any = field.default if field.default is not PydanticUndefined else None
    if isinstance(value, BaseModel):
        value = value.model_dump()["name"]
    return "" if value is None or value == "" else f"`{json.dumps(value)}`"
