"""Match the predictions of a file with rows, by row number or by text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import DataError

EQUAL_TOLERANCE = 1e-3  # probabilities of equal texts may differ by how they were batched and rounded


@dataclass(frozen=True)
class MatchedPredictions:
    """The predictions for some rows, in the order of these rows.

    Attributes:
        probabilities: Class probabilities (n, k). Without `has_probabilities`, 1 for the predicted label and 0 else.
        has_probabilities: Whether the file has probabilities, or labels only.
    """

    probabilities: NDArray[np.float64]
    has_probabilities: bool


@dataclass(frozen=True)
class PredictionTable:
    """The predictions of a file, one per row of the file."""

    where: str
    labels: NDArray[np.int64]  # positions in the label names
    probabilities: NDArray[np.float64]  # (n, k); see MatchedPredictions
    has_probabilities: bool
    rows: list[int] | None  # numbers of the rows that are predicted, from 0; None if they are matched by text
    texts: list[str]  # empty if there are row numbers

    def match(self, ids: Sequence[int], texts: Sequence[str], clean: Callable[[str], str]) -> MatchedPredictions:
        """Return the predictions for rows, given by their numbers from 0 and their cleaned texts.

        Raises:
            DataError: Predictions are missing, contradict each other, or are of other rows.
        """
        keys: Sequence[Any]
        wanted: Sequence[Any]
        if self.rows is not None:
            keys, wanted, how = self.rows, ids, "rows count from 1"
            self._refuse_repeated_rows(self.rows)
        else:
            keys, wanted, how = [clean(text) for text in self.texts], texts, "matched by text"
            self._refuse_contradictions(keys)
        positions = {key: position for position, key in enumerate(keys)}
        if missing := [index for index, key in enumerate(wanted) if key not in positions]:
            raise DataError(
                f"{self.where}: {_count(missing, 'of the test rows has', 'of the test rows have')} no prediction, "
                f"first row {ids[missing[0]] + 1} ({how}); add the missing ones"
            )
        if extra := sorted(positions[key] for key in positions.keys() - set(wanted)):
            named = f"row {keys[extra[0]] + 1}" if self.rows is not None else f"that in row {extra[0] + 1} of the file"
            raise DataError(
                f"{self.where}: {_count(extra, 'prediction is', 'predictions are')} of no test row, first {named} "
                f"({how}); remove such rows"
            )
        order = [positions[key] for key in wanted]
        return MatchedPredictions(self.probabilities[order], self.has_probabilities)

    def _refuse_repeated_rows(self, rows: Sequence[int]) -> None:
        if repeated := [row for row, count in Counter(rows).items() if count > 1]:
            raise DataError(
                f"{self.where}: {_count(repeated, 'row number has', 'row numbers have')} several predictions, first "
                f"{repeated[0] + 1}; keep one of each"
            )

    def _refuse_contradictions(self, keys: Sequence[str]) -> None:
        first: dict[str, int] = {}
        contradicting = [
            (other, position)
            for position, key in enumerate(keys)
            if (other := first.setdefault(key, position)) != position and not self._agree(position, other)
        ]
        if contradicting:
            one, other = contradicting[0]
            raise DataError(
                f"{self.where}: {_count(contradicting, 'prediction contradicts', 'predictions contradict')} another of "
                f"an equal text, first in rows {one + 1} and {other + 1}; tell rows apart by a column of row numbers"
            )

    def _agree(self, one: int, other: int) -> bool:
        return bool(
            self.labels[one] == self.labels[other]
            and np.allclose(self.probabilities[one], self.probabilities[other], atol=EQUAL_TOLERANCE, rtol=0)
        )


def _count(items: Sequence[Any], singular: str, plural: str) -> str:
    return f"{len(items):,} {singular if len(items) == 1 else plural}"
