"""The tables of a study file but the study itself: data, model, search, final runs, report."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from hpo.errors import quote_value
from hpo.escaping import escape_controls
from hpo.study.file_options import ColumnName, Encoding, Quoting, Separator

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*")
_SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class StrictModel(BaseModel):
    """A frozen table of the study file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NamedComponent(BaseModel):
    """A registered component and its options: `"tpe"` or `{ name = "tpe", n_startup_trials = 5 }`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """All keys but the name."""
        return dict(self.model_extra or {})

    def __str__(self) -> str:
        return self.name


def _parse_component(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _parse_seconds(value: Any) -> Any:
    """Return `"90s"`, `"30m"`, `"2h"`, `"1d"` or `"90"` in seconds; anything else is left to pydantic."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value)
    if not match:
        raise ValueError('must be a number of seconds, or text such as "90s", "30m", "2h", "1d"')
    return float(match[1]) * _UNITS[match[2] or "s"]


def _parse_bytes(value: Any) -> Any:
    """Return `"2GB"`, `"500 MB"` or `"1.5TB"` in bytes; anything else is left to pydantic."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?)B?\s*", value)
    if not match:
        raise ValueError('must be a number of bytes, or text such as "500MB", "2GB"')
    return int(float(match[1]) * _SIZES[match[2]])


Component = Annotated[NamedComponent, BeforeValidator(_parse_component)]
Seconds = Annotated[float, BeforeValidator(_parse_seconds), Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rows = Annotated[int, Field(ge=1)]
Files = Annotated[list[str], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class DataSpec(StrictModel):
    """Where texts and labels come from, and how they are split into train, validation and test."""

    source: str | None = Field(None, description='Hub id, local folder or file, or "builtin:reviews"')
    config: str | None = Field(None, description="Configuration (subset) of a hub data set")
    revision: str | None = Field(None, description="Revision of a hub data set: branch, tag or commit")
    train: str | Files | None = Field(
        None, description="Training files (glob patterns allowed), or the name of a split of the source"
    )
    test: Share | Rows | str | Files | None = Field(
        None, description="Test files, the name of a split, or a share or number of rows to split off train"
    )
    validation: Share | Rows | str | Files = Field(
        0.2, description="A share or number of rows to split off train, the name of a split, or files"
    )
    text: ColumnName = Field("text", description="Name of the text column")
    label: ColumnName = Field("label", description="Name of the label column")
    separator: Separator | None = Field(
        None, description='Character between the fields of csv and tsv files; by default "," in csv and "\\t" in tsv'
    )
    quoting: Quoting | None = Field(
        None,
        description='"csv": quotation marks enclose fields, the default; "none": they are part of the text, '
        "the default if tabs separate fields",
    )
    encoding: Encoding | None = Field(
        None, description='Encoding of text files, such as "cp1252"; by default UTF-8, or what a byte order mark says'
    )
    header: bool = Field(
        True,
        description='Whether csv and tsv files start with column names; if not, text and label are positions, "1"',
    )
    rows: dict[Literal["train", "validation", "test"], Rows] = Field(
        default_factory=dict,
        description="Maximum number of rows per split; a larger split is sampled, stratified by label",
    )
    clean: list[Component] = Field(default_factory=list, description="Text cleaning steps, applied in this order")
    group: ColumnName | None = Field(
        None,
        description="Name of a column, such as a customer's number: rows with the same value are split off together",
    )
    order: ColumnName | None = Field(
        None,
        description="Name of a column of numbers or ISO 8601 dates: the latest rows are split off, for test before "
        "validation",
    )
    split_equal_texts: bool = Field(
        False,
        description="Whether rows with equal texts may be divided between the splits, as in version 0.1.0",
    )
    drop_leaks: bool = Field(
        False,
        description="Drop rows of train whose texts or groups are in validation or test too, and rows of validation "
        "whose texts or groups are in test",
    )
    seed: int = Field(0, ge=0, description="Seed of splits, row limits and the built-in corpus")

    @model_validator(mode="after")
    def _has_source(self) -> DataSpec:
        if self.source is None and self.train is None:
            raise ValueError('needs source (hub id, folder, "builtin:reviews") or train (files)')
        columns = {"text": self.text, "label": self.label, "group": self.group, "order": self.order}
        for (key, name), (other, other_name) in combinations(columns.items(), 2):
            if name is not None and name == other_name:
                raise ValueError(f"has {quote_value(name)} for both {key} and {other}")
        return self

    @property
    def train_names(self) -> list[str]:
        """What `train` names, files or one split, as a list."""
        return [self.train] if isinstance(self.train, str) else self.train or []

    @property
    def keeps_equal_texts(self) -> bool:
        """Whether rows are split off train so that equal texts stay together."""
        is_carved = isinstance(self.validation, int | float) or isinstance(self.test, int | float)
        return is_carved and self.group is None and self.order is None and not self.split_equal_texts


class ModelSpec(StrictModel):
    """The checkpoint that every trial fine-tunes."""

    checkpoint: str = Field(description='Hub id, folder, or "builtin:tiny"')
    revision: str | None = Field(None, description="Revision on the hub: branch, tag or commit")
    max_length: int = Field(256, ge=8, description="Tokens per text; longer texts are truncated")
    trust_remote_code: bool = Field(False, description="Run Python code from the checkpoint's repository")


class EveryExamples(StrictModel):
    """A rung every `every_examples` training examples."""

    every_examples: int = Field(ge=1)


class SearchSpec(StrictModel):
    """Sampler, pruner and budget of the search."""

    sampler: Component = Field(NamedComponent(name="tpe"), description="Sampler: a name, or a table with its options")
    pruner: Component = Field(NamedComponent(name="asha"), description="Pruner: a name, or a table with its options")
    trials: int = Field(20, ge=1, description="Number of finished trials, over all invocations")
    timeout: Seconds | None = Field(None, description='Wall time, over all invocations: seconds, or text such as "2h"')
    stop: Literal["none", "noise"] = Field(
        "none", description='"noise": stop early if the expected gain of another trial is below the noise of a score'
    )
    seed: int = Field(0, ge=0, description="Seed of the sampler; each trial's own seed is derived from it")
    workers: int = Field(1, ge=1, description="Number of trials to run in parallel")
    max_restarts: int = Field(
        10, ge=0, description="Number of workers that may be started in place of crashed or killed ones, per invocation"
    )
    engine: str | None = Field(
        None,
        description="Where workers run: inline, processes or ray; by default inline for one worker, else processes",
    )
    save_every: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="How often a trial's state is saved besides at its rungs, so that it can continue after a kill: a "
        'number of optimizer steps, or text such as "10m"',
    )
    saved_trials_disk: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description='Maximum of disk space for saved states: bytes, or text such as "2GB"; 0 saves none; no limit by '
        "default",
    )
    value: Literal["last", "best"] = Field(
        "last", description="Value of a trial: its score at the last rung, or at its best rung"
    )
    rungs: Annotated[int, Field(ge=1, le=100)] | list[float] | EveryExamples = Field(
        [0.25, 0.5, 1.0],
        description="Points of a trial at which it is evaluated and may be pruned: shares of its schedule, a number of "
        "equal shares, or { every_examples = N }",
    )

    @field_validator("save_every", mode="before")
    @classmethod
    def _save_every_in_seconds(cls, value: Any) -> Any:
        if isinstance(value, float) or (isinstance(value, str) and not _DURATION.fullmatch(value)):
            raise ValueError('must be a whole number of steps, or text such as "10m"')
        return _parse_seconds(value)

    @field_validator("saved_trials_disk", mode="before")
    @classmethod
    def _disk_in_bytes(cls, value: Any) -> Any:
        return _parse_bytes(value)

    @model_validator(mode="after")
    def _rungs_rise(self) -> SearchSpec:
        if isinstance(self.rungs, list) and (
            self.rungs != sorted(set(self.rungs)) or not self.rungs or self.rungs[0] <= 0 or self.rungs[-1] != 1.0
        ):
            raise ValueError("rungs must be increasing shares above 0 that end with 1.0")
        return self


RECIPE = "recipe"  # the published configuration: what a user has without a search
BASELINES = ("majority", "tfidf-logreg", "tfidf-logreg-tuned", "bow-forest", "nb-svm", "pretrained", RECIPE)
RERUN = "rerun"  # only on request: the winner's values with other seeds, which checks the comparison itself
WINNER = "winner"  # the name of the winner in comparisons
_MAX_SYSTEM_NAME = 40  # characters: it heads a row of every table


class ExistingSystem(StrictModel):
    """A system that people have already, as a baseline; `final.baselines` holds a table for it."""

    name: str = Field(description="Its name in tables and verdicts")

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not name.strip() or name != name.strip() or len(name) > _MAX_SYSTEM_NAME:
            raise ValueError(f"must have 1 to {_MAX_SYSTEM_NAME} characters, and no blanks around it")
        if escape_controls(name) != name or name.startswith("-") or set(",;") & set(name):  # sentences list names
            raise ValueError("must not start with -, or hold a comma, a semicolon or a control character")
        if name in (*BASELINES, RERUN, WINNER, "fine-tune") or name.startswith("trial #"):
            raise ValueError("must not be the name of one of hpo's own systems")
        return name


class ExistingModel(ExistingSystem):
    """A trained model: it is run on the test rows."""

    model: str = Field(min_length=1, description="Model folder, of hpo or of save_pretrained(), or hub id")
    revision: str | None = Field(None, description="Revision on the hub: branch, tag or commit")
    max_length: int | None = Field(
        None,
        ge=8,
        description="Tokens per text; by default what the model takes, up to 512",
    )

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: str) -> str:
        if model.startswith("builtin:"):
            raise ValueError("must be a trained model: a model folder or a hub id")
        return model

    @property
    def location(self) -> str:
        """The folder or hub id."""
        return self.model


class ExistingPredictions(ExistingSystem):
    """The predictions of a system for the test rows, in a file."""

    predictions: str = Field(min_length=1, description="File with a row per test row: csv, tsv, json, jsonl, parquet")
    row: ColumnName | None = Field(None, description='Column of row numbers, from 1; by default "row" if there is one')
    text: ColumnName | None = Field(None, description="Column of texts, if rows have no numbers; as data.text")
    label: ColumnName = Field("label", description="Column of predicted labels")

    @property
    def location(self) -> str:
        """The file."""
        return self.predictions


def _check_baseline(value: Any) -> Any:
    """Refuse what is neither a name nor one of the two kinds of tables."""
    if isinstance(value, str | ExistingSystem):
        return value
    if not isinstance(value, dict):
        raise ValueError("must be the name of a baseline, or a table with name and model or predictions")
    kinds = [kind for kind in ("model", "predictions") if kind in value]
    if len(kinds) != 1:
        raise ValueError(
            f"has {'both' if kinds else 'neither'} model {'and' if kinds else 'nor'} predictions; give one"
        )
    return value


def _baseline_kind(value: Any) -> str:
    if isinstance(value, str):
        return "str"
    is_file = isinstance(value, ExistingPredictions) or isinstance(value, dict) and "predictions" in value
    return ExistingPredictions.__name__ if is_file else ExistingModel.__name__


BaselineEntry = Annotated[
    Annotated[str, Tag("str")]
    | Annotated[ExistingModel, Tag(ExistingModel.__name__)]
    | Annotated[ExistingPredictions, Tag(ExistingPredictions.__name__)],
    Discriminator(_baseline_kind),
    BeforeValidator(_check_baseline),
]


class FinalSpec(StrictModel):
    """How the winner is retrained, and which baselines it is compared with."""

    seeds: Annotated[int, Field(ge=1)] | Annotated[list[Seed], Field(min_length=1)] = Field(
        5, description="Retraining runs of the winner: their number, or a list of their seeds"
    )
    top_k: int = Field(
        1,
        ge=1,
        description="Number of best trials to choose from: each is trained with as many other seeds, and the one with "
        "the best mean validation score is retrained with `seeds`",
    )
    train_on: Literal["train", "train+validation"] = Field(
        "train", description='Rows that final runs are trained on, or "train+validation"'
    )
    baselines: list[BaselineEntry] = Field(
        list(BASELINES),
        description="Baselines that the winner is compared with: names, and tables of "
        "[systems that you have already](#systems-that-you-have-already)",
    )
    margin: float = Field(
        0.005,
        ge=0,
        description="Largest loss in the objective that does not matter (0.005 is half a point of accuracy): the "
        'winner is called "not worse" if it loses less',
    )

    @model_validator(mode="after")
    def _can_choose(self) -> FinalSpec:
        if self.top_k > 1 and self.train_on != "train":
            raise ValueError('top_k above 1 selects by validation scores, so train_on must be "train"')
        if len(set(self.seed_list)) < len(self.seed_list):
            raise ValueError("seeds contains a seed twice")
        for system in self.existing_systems:
            if self.baseline_names.count(system.name) > 1:
                raise ValueError(f"baselines has {quote_value(system.name)} twice; give each system another name")
        return self

    @property
    def seed_list(self) -> list[int]:
        """The seeds of the retraining runs: 0, 1, ... if only their number is given."""
        return self.seeds if isinstance(self.seeds, list) else list(range(self.seeds))

    @property
    def existing_systems(self) -> list[ExistingModel | ExistingPredictions]:
        """The baselines that hpo does not train: models and files of predictions."""
        return [entry for entry in self.baselines if not isinstance(entry, str)]

    @property
    def baseline_names(self) -> list[str]:
        """The names of all baselines, in the order of the file."""
        return [entry if isinstance(entry, str) else entry.name for entry in self.baselines]


class ReportSpec(StrictModel):
    """What reports, model cards, bundles and the dashboard show."""

    texts: bool = Field(
        True, description="Quote texts of the data in reports and bundles; if false, nothing that hpo writes quotes one"
    )
