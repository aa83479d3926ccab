"""All errors that hpo raises for problems a user can fix.

HpoError
├── SpecError       a study file, search-space file or --set holds an invalid key or value
├── DataError       the texts or labels cannot be used
├── ModelError      the checkpoint or its tokenizer cannot be loaded or does not fit the study
├── StoreError      the store cannot be opened, read or written
├── StudyError      the stored study and the request contradict each other
├── HubError        the Hugging Face hub cannot be reached or refuses the request
└── TrainingError   trials or runs fail for a reason that their hyperparameters do not explain

Each message is one line that says where the problem is, what it is, and what to do. The command line prints it and
exits with code 2, or with 1 for a TrainingError.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

QUOTED_CHARACTERS = 60  # of a user's value in a message: a value can be a review of 5,000 words


class HpoError(Exception):
    """A problem that the user can fix; the message is one line."""


class SpecError(HpoError):
    """`file: key problem`: a key of a study file or search-space file is invalid."""

    def __init__(self, file: object, key: str, problem: str) -> None:
        super().__init__(f"{file}: {key} {problem}" if key else f"{file}: {problem}")
        self.file = str(file)
        self.key = key
        self.problem = problem


class DataError(HpoError):
    """The data cannot be used for training or evaluation."""


class ModelError(HpoError):
    """The checkpoint cannot be loaded, or does not fit the study."""


class StoreError(HpoError):
    """The store cannot be opened, read or written."""


class StudyError(HpoError):
    """The stored study and the request contradict each other."""


class HubError(HpoError):
    """The Hugging Face hub cannot be reached, rejects the user, or rejects the upload."""


class TrainingError(HpoError):
    """Training failed for a reason that the sampled values do not explain."""


def list_causes(error: BaseException) -> list[BaseException]:
    """Return an error and those that have led to it, the last one first."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    # An error that is raised again while another is handled can be its own cause.
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def quote_value(value: object, limit: int = QUOTED_CHARACTERS) -> str:
    """Return a user's value as a message quotes it: its repr, on one line, cut to `limit` characters."""
    # A text is cut before repr, which would take long for a text of megabytes.
    quoted = repr(value[:limit] if isinstance(value, str) else value)
    if len(quoted) <= limit and not (isinstance(value, str) and len(value) > limit):
        return quoted
    return f"{quoted[: limit - 4]}...{quoted[-1]}"


def shorten(text: object, limit: int = QUOTED_CHARACTERS) -> str:
    """Return a text without quotation marks as a message shows it: on one line, cut to `limit` characters."""
    line = "".join(character if character.isprintable() else " " for character in str(text)[: limit + 1])
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def unknown_name(got: str, names: Iterable[str], limit: int = 12) -> str:
    """Return `is unknown; did you mean X?`, or the known names if none is similar.

    For keys, whose name the message has already. For a value use `unknown_value`, which repeats it.
    """
    return f"is unknown; {suggest_name(got, names, limit)}"


def unknown_value(got: object, names: Iterable[str], limit: int = 12) -> str:
    """Return `is "acuracy"; did you mean accuracy?`, or the known values if none is similar."""
    return f'is "{shorten(got)}"; {suggest_name(str(got), names, limit)}'


def suggest_name(got: str, names: Iterable[str], limit: int = 12) -> str:
    """Return `did you mean X?`, or the known names if none is similar."""
    known_names = sorted(names)
    similar = get_close_matches(got, known_names, n=1, cutoff=0.6)
    if similar:
        return f"did you mean {shorten(similar[0])}?"
    return "known: " + ", ".join(map(shorten, known_names[:limit])) + (", ..." if len(known_names) > limit else "")
