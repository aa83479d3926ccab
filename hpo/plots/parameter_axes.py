"""The parameters that a search could choose, as axes of figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial

from hpo.plots.style import Array, wrap_label
from hpo.results.study_results import StudyResults


@dataclass(frozen=True)
class ParameterAxis:
    """One parameter as the trials have it; it has more than one value."""

    name: str
    distribution: BaseDistribution

    @property
    def choices(self) -> list[Any] | None:
        """The values to choose from; None for a range."""
        return list(self.distribution.choices) if isinstance(self.distribution, CategoricalDistribution) else None

    @property
    def is_log(self) -> bool:
        """Whether the range is drawn from on a logarithmic scale."""
        return bool(getattr(self.distribution, "log", False))

    def place(self, trial: FrozenTrial) -> float:
        """Where a trial's value lies: the value, or its place among the choices; not a number where it has none."""
        if self.name not in trial.params:
            return math.nan
        return float(self.distribution.to_internal_repr(trial.params[self.name]))

    def unit(self, trial: FrozenTrial) -> float:
        """The same from 0, the low end or the first choice, to 1."""
        low, high, here = *self.ends, self.place(trial)
        if self.is_log:
            low, high, here = math.log(low), math.log(high), math.log(here)
        return (here - low) / (high - low)

    def at(self, units: Array) -> Array:
        """The values that lie so far between both ends."""
        low, high = self.ends
        return low * (high / low) ** units if self.is_log else low + units * (high - low)

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest place."""
        choices = self.choices
        return (0.0, len(choices) - 1.0) if choices else (self.distribution.low, self.distribution.high)  # type: ignore[attr-defined]

    def shown(self) -> dict[str, Any]:
        """What plotly needs to know of it: title, scale, and the choices by name."""
        title = wrap_label(self.name, 22)
        if self.choices:
            count = len(self.choices)
            names = [wrap_label(each, max(9, 26 // count)) for each in self.choices]
            ticks = {"tickvals": list(range(count)), "ticktext": names, "tickangle": 0, "tickfont_size": 10}
            return {"title_text": title, "range": [-0.5, count - 0.5], **ticks}
        low, high = map(math.log10, self.ends) if self.is_log else self.ends
        room, ticks = 0.03 * (high - low), {}
        if self.is_log and high - low >= 1:
            ticks = {"dtick": math.ceil((high - low) / 3), "exponentformat": "power"}  # four have room side by side
        elif isinstance(self.distribution, IntDistribution) and not self.is_log and high - low <= 10:
            ticks = {"dtick": 1}
        scale = "log" if self.is_log else "linear"
        return {"title_text": title, "type": scale, "range": [low - room, high + room], **ticks}


def searched_axes(record: StudyResults) -> list[ParameterAxis]:
    """The parameters that the search could choose, in the order of the study file or else as they first came."""
    found: dict[str, BaseDistribution] = {}
    for trial in record.trials:  # where another program changed a parameter on the way, its last range counts
        found |= trial.distributions
    order = [*record.spec.space.parameters, *found] if record.is_ours else list(found)
    return [
        ParameterAxis(name, found[name]) for name in dict.fromkeys(order) if name in found and not found[name].single()
    ]
