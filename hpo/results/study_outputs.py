"""What a study has brought so far: the last verdict, the model and the report, and whether they are out of date."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hpo.store.study_record import StudyRecord
from hpo.study.spec import StudySpec


class StudyOutput(BaseModel):
    """One result of a study."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="verdict, model or report")
    content: str = Field(description="The sentence of the verdict, or a path")
    made: datetime
    is_outdated: bool = Field(description="Whether a trial has completed since, so that it may not be of the best one")


def find_outputs(spec: StudySpec, companion: Mapping[str, Any], last_complete: datetime | None) -> list[StudyOutput]:
    """Return the results of a study that exist.

    Args:
        spec: The study.
        companion: Attributes of the study of its final runs; empty if there is none.
        last_complete: When the last complete trial of the search ended.
    """
    found: list[tuple[str, str, datetime]] = []
    if verdict := StudyRecord.from_attributes(companion).verdict:
        found.append(("verdict", verdict.sentence, datetime.fromisoformat(verdict.when)))
    for name, path, written in (
        ("model", spec.model_folder, spec.model_folder / "recipe.json"),
        ("report", spec.folder / "report.html", spec.folder / "report.html"),
    ):
        if made := _modified(written):
            found.append((name, str(path), made))
    return [
        StudyOutput(name=name, content=content, made=made, is_outdated=bool(last_complete and made < last_complete))
        for name, content, made in found
    ]


def _modified(file: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError:
        return None
