"""StudySpec: a study file, validated. All of its records are frozen, and unknown keys are errors."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from hpo.errors import SpecError, quote_value
from hpo.paths import expand_path
from hpo.study.identity import build_identity
from hpo.study.overrides import Override, public_overrides
from hpo.study.search_space import SearchSpace
from hpo.study.spec_tables import DataSpec, FinalSpec, ModelSpec, ReportSpec, SearchSpec, StrictModel
from hpo.study.toml_reader import read_toml, spec_error

_BUDGET_OVERRIDES = ("search.trials=", "search.timeout=", "search.workers=", "search.engine=", "search.stop=")


class StudySpec(StrictModel):
    """A complete study: search space read, defaults filled in, overrides applied."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the study in the store, and of its output folder"
    )
    objective: str = Field("accuracy", description="Metric to optimize")
    storage: str | None = Field(
        None, repr=False, description="Optuna storage URL; by default store.db in the study file's folder"
    )
    data: DataSpec
    model: ModelSpec
    space: SearchSpace
    search: SearchSpec = SearchSpec()
    training: dict[str, Any] = Field(
        default_factory=dict,
        description='TrainingArguments fields and model configuration fields ("model.<field>") that all trials share, '
        'and speed: "auto" uses what is faster on this device, "exact" the libraries\' own arithmetic',
    )
    final: FinalSpec = FinalSpec()
    report: ReportSpec = ReportSpec()
    file: Path = Field(exclude=True, description="The study file")
    overrides: tuple[str, ...] = Field((), exclude=True, repr=False, description="Written by `Override`")

    @property
    def speed(self) -> Any:
        """`training.speed`: "auto" or "exact"."""
        return self.training.get("speed", "auto")

    @property
    def fixed(self) -> dict[str, Any]:
        """What all trials share: field of TrainingArguments, or `model.<field>` -> value."""
        return {name: value for name, value in self.training.items() if name != "speed"}

    @property
    def folder(self) -> Path:
        """The study's output folder: named after the study, in the study file's folder."""
        return self.file.parent / self.name

    @property
    def best_folder(self) -> Path:
        """The folder of the best trial's weights."""
        return self.folder / "best"

    @property
    def model_folder(self) -> Path:
        """The folder of the winner's model."""
        return self.folder / "model"

    @property
    def public_overrides(self) -> list[str]:
        """All overrides but the storage URL, which may hold a password."""
        return public_overrides(self.overrides)

    def command(self, verb: str, *arguments: str) -> str:
        """Return the command for this study, quoted for a shell, with all overrides but those of the budget."""
        kept = [override for override in self.public_overrides if not override.startswith(_BUDGET_OVERRIDES)]
        options = [word for override in kept for word in ("--set", override)]
        return shlex.join(["hpo", verb, str(self.file), *options, *arguments])

    def error(self, key: str, problem: str) -> SpecError:
        """Return a SpecError about one key of this study file."""
        return SpecError(self.file, key, problem)

    def resolved(self) -> dict[str, Any]:
        """Return the study as JSON values, with defaults, without the storage URL (it may hold a password)."""
        return self.model_dump(mode="json", exclude={"storage"})

    def identity(self) -> dict[str, Any]:
        """Return `key.path -> value` of everything that must stay the same for the study to continue."""
        return build_identity(self.resolved(), self.file.parent)

    def hash(self) -> str:
        """SHA-256 over the identity, 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:16]


def load_study(file: str | Path, overrides: tuple[str, ...] = ()) -> StudySpec:
    """Load a study file and apply `key=value` overrides to it.

    Raises SpecError if there is no such file, or if it is not TOML or holds an unknown key or an invalid value.
    """
    path = expand_path(file)
    raw = read_toml(path)
    parsed = [Override.parse(text) for text in overrides]
    # Overrides of the space's content are applied last, on top of the space file, which an override may replace.
    for override in sorted(parsed, key=lambda override: override.changes_space):
        if override.changes_space:
            _read_space_file(raw, path)
        override.apply(raw, path)
    _read_space_file(raw, path)
    for name in ("file", "overrides"):  # fields of StudySpec that are no keys of the file
        if name in raw:
            raise SpecError(path, name, "is unknown")
    try:
        return StudySpec.model_validate({**raw, "file": path, "overrides": tuple(map(str, parsed))})
    except ValidationError as error:
        raise spec_error(path, error, StudySpec) from None


def _read_space_file(raw: dict[str, Any], path: Path) -> None:
    """Replace `space.file` by the content of that file; keys in the table next to `file` take precedence."""
    space = raw.get("space")
    if not isinstance(space, dict) or "file" not in space:
        return
    inline = dict(space)
    name = inline.pop("file")
    if not isinstance(name, str):
        raise SpecError(path, "space.file", f"is {quote_value(name)}; must be the path of a search-space file")
    if not isinstance(inline.get("parameters", {}), dict):
        raise SpecError(
            path, "space.parameters", f"is {quote_value(inline['parameters'])}; must be a table per parameter"
        )
    file = path.parent / expand_path(name)
    content = read_toml(file)
    try:
        SearchSpace.model_validate(content)
    except ValidationError as error:
        raise spec_error(file, error, SearchSpace) from None
    parameters = {**content.get("parameters", {}), **inline.get("parameters", {})}
    raw["space"] = {**content, **inline, "parameters": parameters}
