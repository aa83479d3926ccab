"""SearchSpace: the hyperparameters to search, their ranges, and known-good starting points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from hpo.errors import quote_value, unknown_name

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

Number = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)]
Value = StrictBool | StrictInt | StrictFloat | StrictStr


class Parameter(BaseModel):
    """One hyperparameter: a range (of integers if both ends are integers) or a list of choices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: Number | None = Field(None, description="Lower bound, inclusive")
    high: Number | None = Field(None, description="Upper bound, inclusive")
    log: bool = Field(False, description="Sample on a logarithmic scale")
    step: Number | None = Field(None, description="Sample low, low + step, low + 2 * step, ...")
    choices: list[Value] | None = Field(None, description="Values to choose from, instead of a range")

    @model_validator(mode="after")
    def _range_or_choices(self) -> Parameter:
        if self.choices is not None:
            if not self.choices or {self.low, self.high, self.step} != {None} or self.log:
                raise ValueError("needs either choices (at least one) or low and high")
            if len({(type(choice), choice) for choice in self.choices}) < len(self.choices):
                raise ValueError("contains a choice twice")
        elif self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices")
        elif self.low > self.high:
            raise ValueError(f"has low {self.low} above high {self.high}")
        elif self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("with log needs low above 0 and no step")
        elif self.step is not None and (self.step <= 0 or (self.is_integer and not isinstance(self.step, int))):
            raise ValueError(f"has step {self.step}; must be above 0, and an integer for an integer range")
        return self

    @property
    def description(self) -> str:
        """The range for a reader: `1e-06 to 0.001, log`, or the choices."""
        if self.choices is not None:
            return ", ".join(map(str, self.choices))
        scale = ", log" if self.log else ""
        return f"{self.low} to {self.high}{scale}" + (f", step {self.step}" if self.step else "")

    @property
    def is_integer(self) -> bool:
        """Whether only integers are sampled: both bounds are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def distribution(self) -> BaseDistribution:
        """Return the parameter as an Optuna distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices is not None:
            return CategoricalDistribution(tuple(self.choices))
        assert self.low is not None and self.high is not None
        if self.is_integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=self.step)

    @property
    def ends(self) -> list[Any]:
        """Both bounds of the range, or all choices."""
        return self.choices if self.choices is not None else [self.low, self.high]

    @property
    def middle(self) -> Any:
        """The middle of the range on its own scale; of choices, the one in the middle of the list."""
        if self.choices is not None:
            return self.choices[len(self.choices) // 2]
        low, high = self.ends
        middle = math.sqrt(low * high) if self.log else (low + high) / 2
        return round(middle) if self.is_integer else middle

    def suggest(self, trial: Trial, name: str) -> Any:
        """Sample a trial's value of this parameter."""
        if self.choices is not None:
            return trial.suggest_categorical(name, self.choices)
        assert self.low is not None and self.high is not None
        if self.is_integer:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)

    def grid(self) -> list[Any] | None:
        """Return all values of the parameter, or None if there are infinitely many."""
        if self.choices is not None:
            return list(self.choices)
        if self.low is None or self.high is None or (not self.is_integer and self.step is None):
            return None
        step = self.step or 1
        return [self.low + index * step for index in range(int((self.high - self.low) / step + 1e-8) + 1)]

    def reason_against(self, value: Any) -> str | None:
        """Return why a value is not within the range or among the choices, or None if it is."""
        if self.choices is not None:
            is_choice = any(type(choice) is type(value) and choice == value for choice in self.choices)
            return None if is_choice else f"is {quote_value(value)}; not among {self.choices}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"is {quote_value(value)}; must be a number"
        if self.is_integer and not float(value).is_integer():
            return f"is {quote_value(value)}; must be an integer"
        assert self.low is not None and self.high is not None
        if not self.low <= value <= self.high:
            return f"is {quote_value(value)}; outside {self.low} to {self.high}"
        steps = (value - self.low) / self.step if self.step else 0.0
        if abs(steps - round(steps)) > 1e-8:
            return f"is {quote_value(value)}; not a multiple of step {self.step} from {self.low}"
        return None


class StartingPoint(BaseModel):
    """Published values to try first: `{ source = "...", learning_rate = 2e-5, ... }`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    source: str = Field(description="Where these values were published")

    @property
    def values(self) -> dict[str, Any]:
        """Parameter -> value; the sampler draws parameters that are left out."""
        return dict(self.model_extra or {})


class SearchSpace(BaseModel):
    """The parameters by name, and the starting points that are tried first."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    parameters: dict[str, Parameter] = Field(min_length=1, description="The parameters, by name")
    known_good: list[StartingPoint] = Field(default_factory=list, description="Starting points that are tried first")

    @model_validator(mode="after")
    def _known_good_in_range(self) -> SearchSpace:
        for position, start in enumerate(self.known_good, 1):
            for name, value in start.values.items():
                if name not in self.parameters:
                    raise ValueError(
                        f"known_good {position} ({start.source}): {name} {unknown_name(name, self.parameters)}"
                    )
                reason = self.parameters[name].reason_against(value)
                if reason:
                    raise ValueError(f"known_good {position} ({start.source}): {name} {reason}")
        return self

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Sample all parameters of a trial, in the order of the file; returns parameter -> value."""
        return {name: parameter.suggest(trial, name) for name, parameter in self.parameters.items()}
