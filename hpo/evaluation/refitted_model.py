"""A baseline that is fitted once more, because only the scores and predictions of its runs are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

WriteModel = Callable[[Path], None]  # writes the model into an empty folder, all but its info


@dataclass(frozen=True)
class RefittedModel:
    """A model with its class probabilities for validation, which show whether it is that of the stored run."""

    kind: str  # one of KINDS in model_kinds.py
    validation: NDArray[Any]
    write: WriteModel
    max_length: int | None  # tokens per text; None if whole texts are read
