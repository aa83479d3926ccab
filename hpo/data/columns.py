"""What a reader is asked for: the text column and those of training, and how the fields of a file are separated."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpo.errors import DataError, shorten, suggest_name
from hpo.study.file_options import Quoting
from hpo.study.spec_tables import DataSpec

Row = Sequence[Any]  # the values of Columns.names; None for null


@dataclass(frozen=True)
class ReadOptions:
    """How the characters and fields of a text file are read; see the keys of `data` with the same names."""

    separator: str | None = None
    quoting: Quoting | None = None
    encoding: str | None = None
    header: bool = True
    are_arguments: bool = False  # of `hpo predict`, for messages
    trained: frozenset[str] = frozenset()  # names of the options that `hpo predict` takes from training, for messages

    def format_setting(self, name: str, value: str | bool) -> str:
        """Return what a user writes to set an option: a key of the study file, or an option of the shell."""
        if not self.are_arguments:
            return f"data.{name} = {json.dumps(value)}"
        if isinstance(value, bool):
            return f"--{name}" if value else f"--no-{name}"
        origin = ", as in training" if name in self.trained and value == getattr(self, name) else ""
        return f"--{name} {shlex.quote(value.replace(chr(9), chr(92) + 't'))}{origin}"


@dataclass(frozen=True)
class Columns:
    """The columns to read. Without a label column, only texts are read, in little memory."""

    text: str
    label: str | None = None
    text_option: str = "data.text"  # what sets the text column, for error messages
    group: str | None = None
    order: str | None = None
    options: ReadOptions = field(default_factory=ReadOptions)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns to read, in the order of a row's values."""
        return tuple(self._options)

    @property
    def _options(self) -> dict[str, str]:
        """Name of each column -> what sets it, for error messages."""
        options = {self.text_option: self.text, "data.label": self.label}
        options |= {"data.group": self.group, "data.order": self.order}
        return {name: option for option, name in options.items() if name is not None}

    def find_missing(self, existing: Iterable[Any]) -> tuple[str, str] | None:
        """Return the name of the first column that does not exist, and the option that names it."""
        existing = list(existing)
        return next(((name, option) for name, option in self._options.items() if name not in existing), None)

    def check_present(self, existing: Sequence[Any], where: object, cause: str = "") -> None:
        """Raise DataError if a column does not exist; `cause` says why, if that is clear."""
        for name in self.names:
            if list(existing).count(name) > 1:
                raise DataError(f"{where}: has {list(existing).count(name)} columns {name!r}; rename all but one")
        if missing := self.find_missing(existing):
            name, option = missing
            columns = [str(column) for column in existing]
            suggestion = cause or suggest_name(name, columns)
            # Without a similar name the suggestion lists the columns itself.
            listed = "" if cause or suggestion.startswith("known: ") else f" (columns: {list_columns(columns)})"
            raise DataError(f"{where}: column {shorten(name)!r} ({option}) is unknown; {suggestion}{listed}")

    def refuse_split_columns(self, where: object) -> None:
        """Raise DataError if groups or an order are wanted of a source that has only texts and labels."""
        for option, name in (("data.group", self.group), ("data.order", self.order)):
            if name is not None:
                raise DataError(f"{where}: has no columns, so no {name!r} ({option}); leave {option} out, or use files")


def columns_of(spec: DataSpec) -> Columns:
    """Return the columns and options that a study sets."""
    options = ReadOptions(spec.separator, spec.quoting, spec.encoding, spec.header)
    return Columns(spec.text, spec.label, group=spec.group, order=spec.order, options=options)


def list_columns(columns: Sequence[str], limit: int = 12) -> str:
    """Return the names of columns as a message lists them."""
    return ", ".join(map(shorten, columns[:limit])) + (", ..." if len(columns) > limit else "")
