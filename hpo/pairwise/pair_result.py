"""The comparison of two systems as typed, versioned records: what `hpo compare A B --json` prints.

docs/pair-schema.json holds the schema.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hpo.evaluation.comparison_result import DifferenceResult, FrozenRecord, SeedSummary

PAIR_VERSION = 1


class PairedSystem(FrozenRecord):
    """One of the two systems, and its scores on the test rows."""

    name: str
    kind: Literal["study", "model", "predictions"]
    source: str | None = Field(description="sha256 of its file or folder; null for stored predictions of a study")
    seeds: list[int] = Field(description="Seeds of its runs, if other seeds are part of the comparison; else empty")
    has_probabilities: bool = Field(description="Whether its probabilities are known, or its labels only")
    test: dict[str, SeedSummary] = Field(description="Metric -> score; without probabilities, some are missing")
    per_class: dict[str, dict[str, SeedSummary]]
    confusion: list[list[float]] = Field(description="Mean counts over its runs; rows are true labels")


class PairResult(FrozenRecord):
    """Two systems on the same test rows."""

    version: int = PAIR_VERSION
    objective: str = Field(description="The metric that is compared")
    direction: Literal["maximize", "minimize"]
    labels: list[str]
    rows: int = Field(description="Number of test rows")
    test: str = Field(description="What the test rows are: the test split of a study, or a file")
    covers: Literal["rows", "rows and seeds"] = Field(
        description="rows: these two systems as they are, on other rows like these. rows and seeds: also the same "
        "trainings with other seeds"
    )
    systems: list[PairedSystem] = Field(description="The first and the second system")
    difference: DifferenceResult = Field(description="The first system against the second; positive if it is better")
    assumptions: list[str] = Field(description="What was assumed of the labels of a model")
    ledger: str = Field(description="Whether the use of the test labels is recorded")
    scope: str = Field(description="What the comparison says, and what it does not")
    verdict: str
