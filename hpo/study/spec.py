"""Study file -> StudySpec (frozen, unknown keys are errors)."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from hpo.errors import SpecError
from hpo.study.overrides import apply_override, is_space_content
from hpo.study.search_space import SearchSpace
from hpo.study.toml_reader import read_toml, spec_error

_BUDGET = ("search.trials=", "search.timeout=", "search.workers=", "search.engine=", "search.stop=")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class StrictModel(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NamedComponent(BaseModel):
    """A table entry by name, with its options: `"tpe"` or `{ name = "tpe", n_startup_trials = 5 }`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything beside the name."""
        return dict(self.model_extra or {})

    def __str__(self) -> str:
        return self.name


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _seconds(value: Any) -> Any:
    """`"90s"`, `"30m"`, `"2h"`, `"1d"`, or a number of seconds."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", value)
    if not match:
        raise ValueError('must be seconds, or a text such as "90s", "30m", "2h", "1d"')
    return float(match[1]) * _UNITS[match[2]]


Component = Annotated[NamedComponent, BeforeValidator(_named)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rows = Annotated[int, Field(ge=1)]
Files = Annotated[list[str], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class DataSpec(StrictModel):
    """Where texts and labels come from, and how they become train, validation and test."""

    source: str | None = Field(None, description='Hub id, folder, or "builtin:reviews"')
    config: str | None = Field(None, description="Configuration of a hub data set")
    revision: str | None = Field(None, description="Revision of a hub data set: branch, tag or commit")
    train: str | Files | None = Field(None, description="Train files (globs too), or a split's name")
    test: Share | Rows | str | Files | None = Field(
        None, description="Test files, a split's name, or a share or number of rows carved off train"
    )
    validation: Share | Rows | str | Files = Field(
        0.2, description="A share or number of rows carved off train, a split's name, or files"
    )
    text: str = Field("text", description="Name of the text column")
    label: str = Field("label", description="Name of the label column")
    rows: dict[Literal["train", "validation", "test"], Rows] = Field(
        default_factory=dict, description="Row limit per split, stratified"
    )
    clean: list[Component] = Field(default_factory=list, description="Cleaning steps by name, in order")
    drop_leaks: bool = Field(False, description="Drop train texts that stand in validation or test too")
    seed: int = Field(0, ge=0, description="Seed of carving, of row limits and of the built-in corpus")

    @model_validator(mode="after")
    def _has_source(self) -> DataSpec:
        if self.source is None and self.train is None:
            raise ValueError('needs source (hub id, folder, "builtin:reviews") or train (files)')
        if self.text == self.label:
            raise ValueError(f"has {self.text!r} for both text and label")
        return self


class ModelSpec(StrictModel):
    """The checkpoint that every trial starts from."""

    checkpoint: str = Field(description='Hub id, folder, or "builtin:tiny"')
    revision: str | None = Field(None, description="Revision on the hub: branch, tag or commit")
    max_length: int = Field(256, ge=8, description="Tokens per text; the rest is cut off")
    trust_remote_code: bool = Field(False, description="Run code that the checkpoint brings")


class EveryExamples(StrictModel):
    """A rung each time that so many training examples have been seen."""

    every_examples: int = Field(ge=1)


class SearchSpec(StrictModel):
    """How values are sampled, when trials are pruned, and how much may be spent."""

    sampler: Component = Field(NamedComponent(name="tpe"), description="How values are drawn, with its options")
    pruner: Component = Field(NamedComponent(name="asha"), description="When a trial is given up, with its options")
    trials: int = Field(20, ge=1, description="Finished trials that the study should have in all")
    timeout: Seconds | None = Field(None, description='Wall time of the study: seconds, or "2h"')
    stop: Literal["none", "noise"] = Field(
        "none", description='"noise": also stop when the expected gain of another trial is below the noise of a score'
    )
    seed: int = Field(0, ge=0, description="Every trial's seed comes from it and the trial's place")
    workers: int = Field(1, ge=1, description="Processes that run trials side by side")
    engine: str | None = Field(None, description="Where workers run; by default this process, or processes")
    value: Literal["last", "best"] = Field("last", description="A trial's value: its last rung, or its best")
    rungs: Annotated[int, Field(ge=1, le=100)] | list[float] | EveryExamples = Field(
        [0.25, 0.5, 1.0],
        description="Shares of a trial's own schedule, a number of equal shares, or { every_examples = N }",
    )

    @model_validator(mode="after")
    def _rungs_rise(self) -> SearchSpec:
        if isinstance(self.rungs, list) and (
            self.rungs != sorted(set(self.rungs)) or not self.rungs or self.rungs[0] <= 0 or self.rungs[-1] != 1.0
        ):
            raise ValueError("rungs must be rising shares above 0 that end with 1.0")
        return self


BASELINES = ("majority", "tfidf-logreg", "tfidf-logreg-tuned", "bow-forest", "nb-svm", "pretrained", "recipe")
RERUN = "rerun"  # made where it is named: the winner's own values under other seeds, so it is a check and no rival


class FinalSpec(StrictModel):
    """What the winner is tried against, and with which seeds."""

    seeds: Annotated[int, Field(ge=1)] | Annotated[list[Seed], Field(min_length=1)] = Field(
        5, description="Fresh runs of the best trial: their number, or their seeds"
    )
    top_k: int = Field(1, ge=1, description="Best trials to retrain; the best on validation over the seeds wins")
    train_on: Literal["train", "train+validation"] = Field(
        "train", description='Rows that final runs are fitted to; or "train+validation"'
    )
    baselines: list[str] = Field(list(BASELINES), description="What the winner is tried against")

    @model_validator(mode="after")
    def _can_choose(self) -> FinalSpec:
        if self.top_k > 1 and self.train_on != "train":
            raise ValueError('top_k above 1 chooses on validation, so train_on must be "train"')
        if len(set(self.seed_list)) < len(self.seed_list):
            raise ValueError("seeds names a seed twice")
        return self

    @property
    def seed_list(self) -> list[int]:
        """The seeds of the fresh runs: 0, 1, ... where only their number is given."""
        return self.seeds if isinstance(self.seeds, list) else list(range(self.seeds))


class StudySpec(StrictModel):
    """One study, whole: the search space is read in, defaults are filled in, overrides are applied."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name in the store, and of its folder")
    objective: str = Field("accuracy", description="The metric to search for; its direction is known")
    storage: str | None = Field(None, description="Optuna storage URL; by default store.db beside the study file")
    data: DataSpec
    model: ModelSpec
    space: SearchSpace
    search: SearchSpec = SearchSpec()
    training: dict[str, Any] = Field(
        default_factory=dict,
        description='Fixed TrainingArguments fields, fields of the model\'s own ("model.<field>"), and speed: "auto" '
        'takes what pays on this device, "exact" the plain library\'s arithmetic',
    )
    final: FinalSpec = FinalSpec()
    file: Path = Field(exclude=True, description="The file that this was read from")
    overrides: tuple[str, ...] = Field((), exclude=True)

    @property
    def speed(self) -> Any:
        """How runs are made faster: "auto" or "exact"."""
        return self.training.get("speed", "auto")

    @property
    def fixed(self) -> dict[str, Any]:
        """What every run has in common: field of TrainingArguments, or `model.<field>` -> value."""
        return {name: value for name, value in self.training.items() if name != "speed"}

    @property
    def folder(self) -> Path:
        """Where what this study makes lands: a folder of its name beside its file."""
        return self.file.parent / self.name

    @property
    def model_folder(self) -> Path:
        """Where the winner's model lies."""
        return self.folder / "model"

    @property
    def told_overrides(self) -> list[str]:
        """The overrides that may be told: a storage URL may hold a password."""
        return [each for each in self.overrides if not each.startswith("storage=")]

    def command(self, verb: str, *more: str) -> str:
        """What to type for this very study: overrides belong to it, the budget and the storage do not."""
        kept = [each for each in self.told_overrides if not each.startswith(_BUDGET)]
        return shlex.join(["hpo", verb, str(self.file), *(word for each in kept for word in ("--set", each)), *more])

    def error(self, key: str, problem: str) -> SpecError:
        """A SpecError about one key of this study's file."""
        return SpecError(self.file, key, problem)

    def resolved(self) -> dict[str, Any]:
        """The study as JSON values, defaults included, without the storage URL (it may hold a password)."""
        return self.model_dump(mode="json", exclude={"storage"})

    def identity(self) -> dict[str, Any]:
        """What must stay the same for a study to go on: `key.path -> value`, without budget, final and trackers."""
        whole = self.resolved()
        del whole["final"]
        followed = [name for name in whole["training"] if name == "report_to" or name.startswith("logging_")]
        for name in followed:  # who is told how a trial goes changes nothing in it
            del whole["training"][name]
        if self.speed == "auto":  # said or not
            whole["training"].pop("speed", None)
        for budget in ("trials", "timeout", "workers", "engine", "stop"):
            del whole["search"][budget]
        return dict(_flat(whole))

    def hash(self) -> str:
        """SHA-256 over the identity, 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:16]


def load_study(file: str | Path, overrides: tuple[str, ...] = ()) -> StudySpec:
    """The StudySpec of a TOML file with `key=value` overrides applied.

    Raises SpecError: no such file, no TOML, an unknown key, a value of the wrong kind.
    """
    path = Path(file)
    raw = read_toml(path)
    # What --set says of the space's content comes after the space file is read.
    for override in sorted(overrides, key=is_space_content):
        if is_space_content(override):
            _read_space_file(raw, path)
        apply_override(raw, override, path)
    _read_space_file(raw, path)
    for name in ("file", "overrides"):  # set here, never by a file
        if name in raw:
            raise SpecError(path, name, "is unknown")
    try:
        return StudySpec.model_validate({**raw, "file": path, "overrides": overrides})
    except ValidationError as error:
        raise spec_error(path, error, StudySpec) from None


def _flat(table: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in table.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [(prefix + key, value)]
    return rows


def _read_space_file(raw: dict[str, Any], path: Path) -> None:
    """Put the content of `space.file` in its place; keys that stand beside `file` come on top."""
    space = raw.get("space")
    if not isinstance(space, dict) or "file" not in space:
        return
    inline = dict(space)
    name = inline.pop("file")
    if not isinstance(name, str):
        raise SpecError(path, "space.file", f"is {name!r}; must be the path of a search-space file")
    if not isinstance(inline.get("parameters", {}), dict):
        raise SpecError(path, "space.parameters", f"is {inline['parameters']!r}; must be a table per parameter")
    file = path.parent / name
    read = read_toml(file)
    try:
        SearchSpace.model_validate(read)
    except ValidationError as error:
        raise spec_error(file, error, SearchSpace) from None
    raw["space"] = {**read, **inline, "parameters": {**read.get("parameters", {}), **inline.get("parameters", {})}}
