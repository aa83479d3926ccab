"""Simulated pairs of systems of known accuracy: worlds in which a test of their difference can be right or wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hpo.evaluation.statistics import ResampledScores, Side, resample_scores

ACCURACY, CHANCE = 0.90, 0.50
DRAWS = 100  # resamples of the rows; `hpo compare` takes 1,000
# Standard deviation of the rows' difficulty in logits: for all systems, and for each.
SHARED, INDIVIDUAL = 3.3, 1.1
_sample = np.random.default_rng(0)
LATENT = np.sort(_sample.normal(0, np.hypot(SHARED, INDIVIDUAL), 200_000) + _sample.logistic(size=200_000))


@dataclass(frozen=True)
class World:
    """The runs of two systems on the same rows, ours first. Every label is 0."""

    runs: list[np.ndarray]  # class probabilities (rows, 2), 0 or 1
    resampled: ResampledScores
    ours: Side
    theirs: Side

    @property
    def correct(self) -> np.ndarray:
        """Which rows each run has right (rows, runs), as 0 or 1."""
        return np.stack([run[:, 0] for run in self.runs], axis=1)


@dataclass(frozen=True)
class Cell:
    """Two systems that are compared in many simulated worlds, each with fresh rows and seeds."""

    seeds: tuple[int, int]
    spread: float = 0.0  # standard deviation of the accuracy over seeds
    rows: int = 500
    gap: float = 0.0  # by which our expected accuracy is higher
    is_deterministic: bool = False  # their single run
    failure_rate: float = 0.0  # of our runs, which then guess; the others are better by as much as that costs
    accuracy: float = ACCURACY  # expected, of ours

    def simulate(self, times: int, seed: int = 0, draws: int = DRAWS) -> Iterator[World]:
        """Yield this many worlds."""
        random = np.random.default_rng([seed, *self.seeds, self.rows])
        ours, theirs = Side(range(self.seeds[0])), Side(range(self.seeds[0], sum(self.seeds)), self.is_deterministic)
        for draw in range(times):
            shared, runs = random.normal(size=self.rows), []
            for index, count in enumerate(self.seeds):
                spread = 0.0 if index == 1 and self.is_deterministic else self.spread
                accuracies = self.accuracy - self.gap * index + random.normal(0, spread, count)
                if index == 0 and self.failure_rate:
                    accuracies += (self.accuracy - CHANCE) * self.failure_rate / (1 - self.failure_rate)
                    accuracies[random.random(count) < self.failure_rate] = CHANCE
                runs += simulate_system(random, shared, accuracies.clip(0, 1))
            resampled = resample_scores("accuracy", np.zeros(self.rows, dtype=int), runs, draws, seed=draw)
            yield World(runs, resampled, ours, theirs)


def simulate_system(random: np.random.Generator, shared: np.ndarray, accuracies: np.ndarray) -> list[np.ndarray]:
    """Simulate one run per expected accuracy; the row, the system and chance decide which rows are right."""
    rows, ease = len(shared), np.quantile(LATENT, accuracies)[:, None]
    noise = random.logistic(size=(len(accuracies), rows))
    right = ease + SHARED * shared + INDIVIDUAL * random.normal(size=rows) + noise > 0
    return [np.column_stack([run, ~run]) for run in right]


SIZE_CELLS = [  # two systems of equal expected accuracy
    Cell((5, 5)),
    Cell((5, 5), 0.01),
    Cell((5, 5), 0.003, 2000),
    Cell((3, 3), 0.003, 2000),
    Cell((3, 3), 0.01),
    Cell((2, 2)),
    Cell((2, 2), 0.003, 2000),
    Cell((2, 2), 0.01),
    Cell((5, 1), 0.003, is_deterministic=True),
    Cell((5, 1), 0.01, is_deterministic=True),
    Cell((5, 1), 0.003),  # their seeds are assumed to vary as ours do
    Cell((5, 1), 0.01, 2000),
]
POWER_CELLS = [  # with the share of worlds in which the gap must be found
    (Cell((5, 5), 0.0, 2000, gap=0.01), 0.45),
    (Cell((5, 5), 0.003, 2000, gap=0.01), 0.40),
    (Cell((5, 5), 0.01, 2000, gap=0.01), 0.19),
    (Cell((5, 5), 0.003, gap=0.02), 0.50),
    (Cell((3, 3), 0.003, gap=0.02), 0.32),
    (Cell((2, 2), 0.003, gap=0.02), 0.20),
]
