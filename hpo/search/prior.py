"""`prior`: draws around the known-good starting points, mixed into any sampler, fewer as trials finish."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.store.optuna_internals import unit_cube
from hpo.store.trial_order import rank_key
from hpo.store.trial_record import TrialRecord
from hpo.store.trial_state import is_finished

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.study.search_space import Parameter, SearchSpace

PRIOR, SAMPLER = "prior", "sampler"  # values of TrialRecord.drawn_by
TOP_FRACTION = 3  # one in so many finished trials is among the best
HALF_LIFE = 8  # the weight has halved after so many drawn trials, however good they were


@dataclass(frozen=True)
class Prior:
    """How many trials are drawn around the known-good starting points, and how widely.

    After PriorBand (Mallik et al. 2023, "PriorBand: Practical Hyperparameter Optimization in the Age of Deep
    Learning"): a trial is drawn from the prior with a probability that falls with every trial, and faster if the
    prior's own trials (starting points and draws around them) are rarer among the best trials than among all.

    weight: probability at the start, above 0 and at most 1.
    spread: standard deviation around a starting point as a fraction of the axis (of its logarithm on a logarithmic
        axis), above 0 and at most 1. On a categorical axis, the probability that the choice is redrawn.
    """

    weight: float = 0.5
    spread: float = 0.25

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
                raise ValueError(f"{field.name} is {value!r}; must be above 0 and at most 1")

    def draw_values(
        self, space: SearchSpace, trials: Sequence[FrozenTrial], direction: str, rng: np.random.Generator
    ) -> dict[str, Any] | None:
        """Return hyperparameters for the next trial, or None if the sampler should draw them."""
        best_first = sorted(filter(is_finished, trials), key=lambda trial: rank_key(trial, direction))
        records = [TrialRecord.from_trial(trial) for trial in best_first]
        if rng.random() >= self.probability(records):
            return None
        start = space.known_good[_draw_starting_point(len(space.known_good), records, rng)].values
        return {name: self._draw_near(axis, start.get(name), rng) for name, axis in space.parameters.items()}

    def probability(self, best_first: Sequence[TrialRecord]) -> float:
        """Return the probability that the next trial is drawn from the prior, from the finished trials."""
        from_prior = [record.starting_point is not None or record.drawn_by == PRIOR for record in best_first]
        if not any(from_prior):
            return self.weight
        top = from_prior[: math.ceil(len(from_prior) / TOP_FRACTION)]
        merits = range(len(top), 0, -1)  # the best trial counts most
        among_top = sum(merit for merit, is_own in zip(merits, top, strict=True) if is_own) / sum(merits)
        among_all = sum(from_prior) / len(from_prior)
        drawn = sum(record.drawn_by is not None for record in best_first)
        return self.weight * min(1.0, among_top / among_all) ** 2 / (1 + drawn / HALF_LIFE)

    def _draw_near(self, axis: Parameter, center: Any, rng: np.random.Generator) -> Any:
        """Draw a value of an axis near another one: normal on the axis's own scale, truncated at both ends.

        Without a center, any value of the axis is drawn with equal probability.
        """
        from scipy.special import ndtr, ndtri

        if axis.choices is not None:
            is_kept = center is not None and rng.random() >= self.spread
            return center if is_kept else axis.choices[rng.integers(len(axis.choices))]
        scale = unit_cube({"": axis.distribution()})
        if center is None:
            return scale.untransform(rng.random(1))[""]
        mean = scale.transform({"": center})[0]
        # By the inverse of the distribution function: one random number for each draw, however narrow the interval is.
        quantile = rng.uniform(ndtr(-mean / self.spread), ndtr((1 - mean) / self.spread))
        return scale.untransform(np.clip(mean + self.spread * ndtri([quantile]), 0, 1))[""]


def _draw_starting_point(count: int, best_first: Sequence[TrialRecord], rng: np.random.Generator) -> int:
    """Draw the index of a starting point. The best one is twice as likely as the second best, and so on."""
    tried = [record.starting_point for record in best_first if record.starting_point is not None]
    order = list(dict.fromkeys([*tried, *range(count)]))
    weights = 0.5 ** np.arange(count)
    return int(rng.choice(order, p=weights / weights.sum()))
