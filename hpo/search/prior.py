"""`prior`: draws around the space's known-good starts, mixed into any sampler, less and less as evidence comes in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.store.trial_state import is_finished

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.study.search_space import Parameter, SearchSpace

DRAWN_BY, PRIOR, SAMPLER = "drawn", "prior", "sampler"  # the attribute of a trial that was drawn, and its two values
TOP_FRACTION = 3  # one in so many trials is among the best
HALF_LIFE = 8  # after so many drawn trials the weight has halved, whatever they were worth


@dataclass(frozen=True)
class Prior:
    """How much is drawn around the known-good starts, and how widely.

    In the manner of PriorBand (Mallik et al. 2023, "PriorBand: Practical Hyperparameter Optimization in the Age of
    Deep Learning"): a trial is drawn from the prior with a probability that falls with every trial, and faster where
    the prior's own trials (starts, and what was drawn around them) are rarer among the best than among all.

    weight: the probability to begin with, above 0 and at most 1.
    spread: the standard deviation around a start as a share of the axis, of its logarithm where it is logarithmic;
        above 0 and at most 1. On a categorical axis, the probability that the start's choice is drawn anew.
    """

    weight: float = 0.5
    spread: float = 0.25

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
                raise ValueError(f"{field.name} is {value!r}; must be above 0 and at most 1")

    def values(
        self, space: SearchSpace, trials: Sequence[FrozenTrial], maximize: bool, draw: np.random.Generator
    ) -> dict[str, Any] | None:
        """Values for the next trial, or None where it is the sampler's turn."""
        ranked = sorted(filter(is_finished, trials), key=lambda trial: _rank(trial, maximize))
        if draw.random() >= self.chance(ranked):
            return None
        start = space.known_good[self._start(len(space.known_good), ranked, draw)].values
        return {name: self._on(axis, start.get(name), draw) for name, axis in space.parameters.items()}

    def chance(self, ranked: Sequence[FrozenTrial]) -> float:
        """The probability that the next trial is drawn from the prior, given the finished ones, the best first."""
        own = [_is_own(trial) for trial in ranked]
        if not any(own):
            return self.weight
        best = own[: math.ceil(len(own) / TOP_FRACTION)]
        merits = range(len(best), 0, -1)  # the best trial's word counts most
        among_best = sum(merit for merit, is_own in zip(merits, best, strict=True) if is_own) / sum(merits)
        among_all = sum(own) / len(own)
        drawn = sum(DRAWN_BY in trial.user_attrs for trial in ranked)
        return self.weight * min(1.0, among_best / among_all) ** 2 / (1 + drawn / HALF_LIFE)

    @staticmethod
    def _start(count: int, ranked: Sequence[FrozenTrial], draw: np.random.Generator) -> int:
        """A start by its number; the one whose own trial was best is twice as likely as the next, and so on."""
        tried = [trial.user_attrs["known_good"] for trial in ranked if "known_good" in trial.user_attrs]
        order = list(dict.fromkeys([*tried, *range(count)]))
        weights = 0.5 ** np.arange(count)
        return int(draw.choice(order, p=weights / weights.sum()))

    def _on(self, axis: Parameter, centre: Any, draw: np.random.Generator) -> Any:
        """A value on an axis, near another if there is one: a normal on the axis's own scale, cut off at its ends."""
        from optuna._transform import _SearchSpaceTransform  # the scale on which Optuna's own samplers draw
        from scipy.special import ndtr, ndtri

        if axis.choices is not None:
            is_kept = centre is not None and draw.random() >= self.spread
            return centre if is_kept else axis.choices[draw.integers(len(axis.choices))]
        scale = _SearchSpaceTransform({"": axis.distribution()}, transform_0_1=True)
        if centre is None:
            return scale.untransform(draw.random(1))[""]
        middle = scale.transform({"": centre})[0]
        share = draw.uniform(ndtr(-middle / self.spread), ndtr((1 - middle) / self.spread))
        return scale.untransform(np.clip(middle + self.spread * ndtri([share]), 0, 1))[""]


def _is_own(trial: FrozenTrial) -> bool:
    return "known_good" in trial.user_attrs or trial.user_attrs.get(DRAWN_BY) == PRIOR


def _rank(trial: FrozenTrial, maximize: bool) -> tuple[int, float, float]:
    """Complete trials first, the best on top; then pruned ones by how far they came, and failures last."""
    sign = -1.0 if maximize else 1.0
    if trial.state.name == "COMPLETE" and trial.value is not None:
        return 0, 0.0, sign * trial.value
    if trial.state.name == "PRUNED" and trial.last_step is not None:
        return 1, -trial.last_step, sign * trial.intermediate_values[trial.last_step]
    return 2, 0.0, 0.0
