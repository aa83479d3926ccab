"""Every error that a user can cause or meet, its tree drawn here.

HpoError
├── SpecError       a study or space file, or a --set, says something that cannot be
├── DataError       the texts or labels cannot be used
├── ModelError      the checkpoint or its tokenizer cannot be loaded or does not fit
├── StoreError      the study store cannot be opened or written
├── StudyError      the study in the store does not agree with what is asked of it
├── HubError        the hub cannot be reached, or refuses
└── TrainingError   trials end in ways that the values do not explain

The message says where, what, and what to do, on one line. The shell prints it and exits with 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


class HpoError(Exception):
    """Something that the user can mend; its text is one clear line."""


class SpecError(HpoError):
    """`file: key is got; expected` -- a key of a study or space file holds what it cannot hold."""

    def __init__(self, file: object, key: str, problem: str) -> None:
        super().__init__(f"{file}: {key} {problem}" if key else f"{file}: {problem}")
        self.file = str(file)
        self.key = key
        self.problem = problem


class DataError(HpoError):
    """The data cannot be trained or evaluated on."""


class ModelError(HpoError):
    """The checkpoint cannot be loaded, or does not fit the study."""


class StoreError(HpoError):
    """The study store cannot be opened, read or written."""


class StudyError(HpoError):
    """The stored study and the request do not agree."""


class HubError(HpoError):
    """The hub cannot be reached, does not know the user, or does not take what is sent."""


class TrainingError(HpoError):
    """Training failed in a way that is no property of the sampled values."""


def mask_passwords(text: str) -> str:
    """A text in which passwords of URLs are stars."""
    return re.sub(r"(://[^:/@\s]+):[^@\s]+@", r"\1:***@", text)


def unknown_name(got: str, known: Iterable[str], limit: int = 12) -> str:
    """`is unknown; did you mean X?`, or the known names where none is near."""
    names = sorted(known)
    near = get_close_matches(got, names, n=1, cutoff=0.6)
    if near:
        return f"is unknown; did you mean {near[0]}?"
    shown = ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
    return f"is unknown; known: {shown}"
