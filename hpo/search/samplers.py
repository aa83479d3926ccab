"""SAMPLERS: Optuna's samplers, rebuilt for each trial so that its values do not depend on the process."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    GridSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial

from hpo.errors import SpecError, unknown_value
from hpo.search.prior import PRIOR, SAMPLER, Prior
from hpo.store.optuna_internals import fixed_values, read_all_trials, set_trial_attribute
from hpo.store.trial_queue import replay_index
from hpo.store.trial_record import TrialRecord, trial_attributes
from hpo.store.trial_state import TrialView, is_finished, outcome
from hpo.study.search_space import SearchSpace
from hpo.study.spec import StudySpec

SamplerOptions = Mapping[str, Any]
EXHAUSTIVE = (GridSampler, BruteForceSampler)  # samplers that try every combination of the axes once
EXHAUSTIVE_NAMES = ("grid", "brute-force")


@dataclass(frozen=True)
class SamplerSeeds:
    """What a sampler may draw from: the study's seed, the trial's seed, and all values of each finite axis."""

    study_seed: int
    trial_seed: int
    grid: Mapping[str, list[Any] | None]

    def finite_grid(self, sampler: str) -> dict[str, list[Any]]:
        """Return all values of every axis. Raises ValueError if an axis has no end of them."""
        if infinite := [name for name, values in self.grid.items() if values is None]:
            raise ValueError(f"{sampler} needs a step or choices for {', '.join(infinite)}")
        return {name: values or [] for name, values in self.grid.items()}


def _brute_force(options: SamplerOptions, seeds: SamplerSeeds) -> BaseSampler:
    seeds.finite_grid("brute-force")
    return BruteForceSampler(seed=seeds.trial_seed, **options)


# Name -> sampler, from its options and what it may draw from.
# TPE follows finished trials from the sixth on, not from the eleventh as in Optuna: better in replayed searches
# (benchmarks/simulate.py). QMC's points are one sequence and the grid is shuffled once, so both use the study's seed.
SAMPLERS: dict[str, Callable[[SamplerOptions, SamplerSeeds], BaseSampler]] = {
    "tpe": lambda options, seeds: TPESampler(seed=seeds.trial_seed, **{"n_startup_trials": 5, **options}),
    "gp": lambda options, seeds: GPSampler(seed=seeds.trial_seed, **options),
    "random": lambda options, seeds: RandomSampler(seed=seeds.trial_seed, **options),
    "qmc": lambda options, seeds: QMCSampler(
        seed=seeds.study_seed, independent_sampler=RandomSampler(seed=seeds.trial_seed), **{"scramble": True, **options}
    ),
    "cmaes": lambda options, seeds: CmaEsSampler(seed=seeds.trial_seed, **options),
    "grid": lambda options, seeds: GridSampler(seeds.finite_grid("grid"), seed=seeds.study_seed, **options),
    "brute-force": _brute_force,
}


class ReplayingSampler(BaseSampler):
    """One of SAMPLERS, rebuilt before each trial with a seed from the study's seed and the trial's replay index.

    A sampler that lives as long as its process draws the same first values after each start: six trials in three
    sessions of two would be three equal pairs. This one continues as if the search had never been interrupted. A trial
    that continues is not sampled, because its values are stored; if its worker was killed while they were drawn, the
    stored ones are drawn again, so that the others get the random numbers that they would have had. If the study has a
    prior, some trials are drawn from it, and each drawn trial records whether the prior or the sampler drew it.
    """

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._prior = _build_prior(spec)
        self._inner = self._build(0)
        self._prior_values: dict[str, Any] | None = None  # values of the current trial if the prior drew them
        self._drawn_before: dict[str, Any] = {}  # name -> distribution of the values that an earlier worker drew singly

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Rebuild the sampler for this trial."""
        trials = read_all_trials(study)
        index = replay_index(trial, trials)
        self._inner = self._build(index)
        self._inner.before_trial(study, trial)
        self._prior_values = None
        self._drawn_before = {name: trial.distributions[name] for name in trial.params.keys() - fixed_values(trial)}
        is_start = TrialRecord.from_trial(trial).starting_point is not None
        if self._prior and not is_start and not self._is_fixed(trial):
            # The third number separates this generator from those that the inner sampler seeds.
            rng = np.random.default_rng([self._spec.search.seed, index, 1])
            direction = study.direction.name
            self._prior_values = self._prior.draw_values(self._spec.space, trials, direction, rng)
            for key, value in trial_attributes(drawn_by=PRIOR if self._prior_values else SAMPLER).items():
                set_trial_attribute(study, trial, key, value)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Return the axes that are sampled jointly.

        None of them if the values are already known: QMC would use up a point of its sequence for nothing.
        """
        if self._prior_values or self._is_fixed(trial):
            return {}
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Draw values jointly."""
        values = self._inner.sample_relative(study, trial, search_space)
        self._drawn_before = {name: axis for name, axis in self._drawn_before.items() if name not in values}
        return values

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """Draw a single value."""
        if self._prior_values:
            return self._prior_values[param_name]
        for name in [name for name in self._spec.space.parameters if name in self._drawn_before]:
            self._inner.sample_independent(study, trial, name, self._drawn_before.pop(name))
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        """Let the sampler store what later trials need.

        Exhaustive samplers store nothing here and would call `study.stop()`; the worker checks `is_exhausted` instead.
        """
        if not isinstance(self._inner, EXHAUSTIVE):
            self._inner.after_trial(study, trial, state, values)

    def _is_fixed(self, trial: FrozenTrial) -> bool:
        return self._spec.space.parameters.keys() <= fixed_values(trial).keys() | trial.params.keys()

    def _build(self, index: int) -> BaseSampler:
        seed = self._spec.search.seed
        grid = {name: axis.grid() for name, axis in self._spec.space.parameters.items()}
        name, options = _name_and_options(self._spec)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return SAMPLERS[name](options, SamplerSeeds(seed, trial_seed(seed, index), grid))


def trial_seed(study_seed: int, replay_index: int) -> int:
    """Return the seed of everything random in a trial, below 2**31."""
    return int(np.random.SeedSequence([study_seed, replay_index]).generate_state(1)[0] >> 1)


def build_sampler(spec: StudySpec, instance: BaseSampler | None = None) -> BaseSampler:
    """Return the sampler of a study: the given instance, or the one that the study file names.

    An instance keeps its own random state, so only a search that is not interrupted can be repeated with it.
    Raises SpecError for an unknown name, and for an option that the sampler does not accept.
    """
    if instance is not None:
        return instance
    name, options = _name_and_options(spec)
    if name not in SAMPLERS:
        raise spec.error("search.sampler", unknown_value(name, SAMPLERS))
    if "seed" in options:
        raise spec.error("search.sampler.seed", "is not an option: all draws follow from search.seed; set that instead")
    try:
        return ReplayingSampler(spec)
    except (TypeError, ValueError) as error:
        raise option_error(spec, "search.sampler", error) from None


def is_exhausted(sampler: BaseSampler, study: optuna.Study, space: SearchSpace) -> bool:
    """Whether an exhaustive sampler has tried every combination of the axes; False for all other samplers."""
    inner = sampler._inner if isinstance(sampler, ReplayingSampler) else sampler
    if isinstance(inner, GridSampler):
        return inner.is_exhausted(study)
    count = count_combinations(space)
    if count is None or not isinstance(inner, BruteForceSampler):
        return False
    # Running trials count: another worker tries those, and BruteForceSampler would repeat one instead of waiting.
    trials = [trial for trial in study.get_trials(deepcopy=False) if is_finished(trial) or outcome(trial) == "running"]
    return len({tuple(sorted(trial.params.items())) for trial in trials}) >= count


def count_combinations(space: SearchSpace) -> int | None:
    """Return the number of combinations of all axes, or None if an axis is infinite."""
    values = [axis.grid() for axis in space.parameters.values()]
    return None if None in values else math.prod(len(axis or []) for axis in values)


def count_left(spec: StudySpec, trials: Sequence[TrialView]) -> int:
    """Return how many trials a search has left: those of its budget, or of its combinations if they are fewer."""
    is_exhaustive = spec.search.sampler.name in EXHAUSTIVE_NAMES
    combinations = count_combinations(spec.space) if is_exhaustive else None
    finished = sum(map(is_finished, trials))
    return max(0, min(spec.search.trials, combinations or spec.search.trials) - finished)


def _name_and_options(spec: StudySpec) -> tuple[str, dict[str, Any]]:
    """Return the sampler's name and its own options; `prior` is not one of them, because every sampler accepts it."""
    options = spec.search.sampler.options
    options.pop("prior", None)
    return spec.search.sampler.name, options


def _build_prior(spec: StudySpec) -> Prior | None:
    """Return the study's prior, or None without one. Raises SpecError if it cannot be used."""
    key, option = "search.sampler.prior", spec.search.sampler.options.get("prior", False)
    if option is False:
        return None
    if option is not True and not isinstance(option, dict):
        raise spec.error(key, f"is {option!r}; must be true, or a table such as {{ weight = 0.5, spread = 0.25 }}")
    name = spec.search.sampler.name
    if name in EXHAUSTIVE_NAMES:
        raise spec.error(key, f"cannot be combined with {name}, which tries every combination once; remove one of them")
    if not spec.space.known_good:
        raise spec.error(key, "needs known-good starting points, but the space has none; add [[space.known_good]]")
    try:
        return Prior() if option is True else Prior(**option)
    except (TypeError, ValueError) as error:
        raise option_error(spec, key, error) from None


def option_error(spec: StudySpec, key: str, error: Exception) -> SpecError:
    """Return an error of one line about an option that Optuna does not accept."""
    return spec.error(key, f"was refused: {str(error).split('__init__() ')[-1].splitlines()[0]}")
