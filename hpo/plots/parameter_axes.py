"""The searched parameters as axes of figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from hpo.plots.style import Array, wrap_label
from hpo.results.study_results import StudyResults
from hpo.store.trial_record import TrialRecord


@dataclass(frozen=True)
class ParameterAxis:
    """One searched parameter, which has more than one possible value."""

    name: str
    distribution: BaseDistribution

    @property
    def choices(self) -> list[Any] | None:
        """The choices of a categorical parameter; None for a range."""
        return list(self.distribution.choices) if isinstance(self.distribution, CategoricalDistribution) else None

    @property
    def is_log(self) -> bool:
        """Whether the range is sampled on a logarithmic scale."""
        return bool(getattr(self.distribution, "log", False))

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest position."""
        choices = self.choices
        return (0.0, len(choices) - 1.0) if choices else (self.distribution.low, self.distribution.high)  # type: ignore[attr-defined]

    def position(self, trial: TrialRecord) -> float:
        """Return a trial's value, or the index of its choice; NaN if the trial does not have the parameter."""
        if self.name not in trial.params:
            return math.nan
        return float(self.distribution.to_internal_repr(trial.params[self.name]))

    def unit_position(self, trial: TrialRecord) -> float:
        """Return the position scaled to 0 (low end or first choice) .. 1, on the parameter's own scale."""
        low, high, position = *self.ends, self.position(trial)
        if self.is_log:
            low, high, position = math.log(low), math.log(high), math.log(position)
        return (position - low) / (high - low)

    def from_unit(self, units: Array) -> Array:
        """Return the values at these unit positions."""
        low, high = self.ends
        return low * (high / low) ** units if self.is_log else low + units * (high - low)

    def axis_options(self) -> dict[str, Any]:
        """Return plotly's options of the axis: title, scale, range, and ticks at the choices."""
        title = wrap_label(self.name, 22)
        if self.choices:
            count = len(self.choices)
            names = [wrap_label(choice, max(9, 26 // count)) for choice in self.choices]
            ticks = {"tickvals": list(range(count)), "ticktext": names, "tickangle": 0, "tickfont_size": 10}
            return {"title_text": title, "range": [-0.5, count - 0.5], **ticks}
        low, high = map(math.log10, self.ends) if self.is_log else self.ends
        margin, ticks = 0.03 * (high - low), {}
        if self.is_log and high - low >= 1:
            # Up to four ticks fit side by side on a phone.
            ticks = {"dtick": math.ceil((high - low) / 3), "exponentformat": "power"}
        elif isinstance(self.distribution, IntDistribution) and not self.is_log and high - low <= 10:
            ticks = {"dtick": 1}
        scale = "log" if self.is_log else "linear"
        return {"title_text": title, "type": scale, "range": [low - margin, high + margin], **ticks}


def searched_axes(results: StudyResults) -> list[ParameterAxis]:
    """Return the searched parameters in the order of the study file, or of first use if hpo did not make the study."""
    distributions: dict[str, BaseDistribution] = {}
    for trial in results.frozen_trials:  # another program may change a range during the search; the last one counts
        distributions |= trial.distributions
    order = [*results.spec.space.parameters, *distributions] if results.is_ours else list(distributions)
    return [
        ParameterAxis(name, distributions[name])
        for name in dict.fromkeys(order)
        if name in distributions and not distributions[name].single()
    ]
