"""SAMPLERS: Optuna's, drawn anew for each trial so that a draw depends on the trial and not on the process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, GridSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection

from hpo.errors import SpecError, unknown_name
from hpo.search.prior import DRAWN_BY, PRIOR, SAMPLER, Prior
from hpo.store.trial_queue import replay_index
from hpo.study.spec import StudySpec

SamplerOptions = Mapping[str, Any]


@dataclass(frozen=True)
class SamplerSeeds:
    """What a sampler may draw from: the study's seed, the trial's own seed, and every value of each finite axis."""

    study_seed: int
    trial_seed: int
    grid: Mapping[str, list[Any] | None]


def _grid(options: SamplerOptions, draw: SamplerSeeds) -> BaseSampler:
    endless = [name for name, values in draw.grid.items() if values is None]
    if endless:
        raise ValueError(f"grid needs a step or choices for {', '.join(endless)}")
    return GridSampler({name: values or [] for name, values in draw.grid.items()}, seed=draw.study_seed, **options)


# TPE draws by what it knows from the sixth trial on, not from the eleventh, as Optuna's would: replayed searches find
# better for it (benchmarks/simulate.py).
# QMC's points are one sequence, so its seed is the study's. Grid shuffles its points once, by the study's seed too.
SAMPLERS: dict[str, Callable[[SamplerOptions, SamplerSeeds], BaseSampler]] = {
    "tpe": lambda options, draw: TPESampler(seed=draw.trial_seed, **{"n_startup_trials": 5, **options}),
    "gp": lambda options, draw: GPSampler(seed=draw.trial_seed, **options),
    "random": lambda options, draw: RandomSampler(seed=draw.trial_seed, **options),
    "qmc": lambda options, draw: QMCSampler(
        seed=draw.study_seed, independent_sampler=RandomSampler(seed=draw.trial_seed), **{"scramble": True, **options}
    ),
    "cmaes": lambda options, draw: CmaEsSampler(seed=draw.trial_seed, **options),
    "grid": _grid,
}


class ReplayingSampler(BaseSampler):
    """One of SAMPLERS, made anew for each trial with a seed from the study's seed and the trial's place.

    A sampler that lives as long as its process draws the same first values at each start: six trials in three
    sittings of two would be three equal pairs. This one goes on as if nothing had happened, and a trial that runs
    again asks for nothing, for its values are fixed. Where the study has a prior, some trials are drawn from that
    instead, and every drawn trial remembers in its attribute `drawn` by which of the two.
    """

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._prior = _prior(spec)
        self._inner = self._build(0)
        self._near: dict[str, Any] | None = None  # the trial's values, where they come from the prior

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Make the trial's own sampler."""
        # Hyperband hands over a study of one bracket; the place counts all trials, so the storage is asked.
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        number = replay_index(trial, trials)
        self._inner = self._build(number)
        self._inner.before_trial(study, trial)
        self._near = None
        if self._prior and "known_good" not in trial.user_attrs and not self._is_fixed(trial):
            draw = np.random.default_rng([self._spec.search.seed, number, 1])  # no numbers that the inner one draws
            maximize = study.direction == StudyDirection.MAXIMIZE
            self._near = self._prior.values(self._spec.space, trials, maximize, draw)
            study._storage.set_trial_user_attr(trial._trial_id, DRAWN_BY, PRIOR if self._near else SAMPLER)

    def infer_relative_search_space(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        """What is drawn jointly: nothing where the values are known, so that no point of a sequence is used up."""
        if self._near or self._is_fixed(trial):
            return {}
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Values drawn jointly."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """A value drawn on its own."""
        if self._near:
            return self._near[param_name]
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        """Let the sampler store what the next one needs; a grid only would stop a study that stops by itself."""
        if isinstance(self._inner, GridSampler):
            return
        self._inner.after_trial(study, trial, state, values)

    def is_exhausted(self, study: optuna.Study) -> bool:
        """Whether every point of a grid has been tried."""
        return isinstance(self._inner, GridSampler) and self._inner.is_exhausted(study)

    def _is_fixed(self, trial: optuna.trial.FrozenTrial) -> bool:
        fixed: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
        return self._spec.space.parameters.keys() <= fixed.keys()

    def _build(self, number: int) -> BaseSampler:
        seed = self._spec.search.seed
        grid = {name: axis.grid() for name, axis in self._spec.space.parameters.items()}
        name, options = _named(self._spec)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return SAMPLERS[name](options, SamplerSeeds(seed, trial_seed(seed, number), grid))


def trial_seed(study_seed: int, place: int) -> int:
    """The seed of all that is random in a trial, below 2**31."""
    return int(np.random.SeedSequence([study_seed, place]).generate_state(1)[0] >> 1)


def build_sampler(spec: StudySpec) -> ReplayingSampler:
    """The study's sampler. Raises SpecError: an unknown name, an option that it does not take."""
    name, options = _named(spec)
    if name not in SAMPLERS:
        raise spec.error("search.sampler", f"is {name!r}; it {unknown_name(name, SAMPLERS)}")
    if "seed" in options:
        raise spec.error("search.sampler.seed", "is not an option: every draw follows from search.seed")
    try:
        return ReplayingSampler(spec)
    except (TypeError, ValueError) as error:
        raise option_error(spec, "search.sampler", error) from None


def _named(spec: StudySpec) -> tuple[str, dict[str, Any]]:
    """The sampler's name and its own options: `prior` is none, for every sampler has it."""
    options = spec.search.sampler.options
    options.pop("prior", None)
    return spec.search.sampler.name, options


def _prior(spec: StudySpec) -> Prior | None:
    """The study's prior, if it has one. Raises SpecError where it cannot be."""
    key, said = "search.sampler.prior", spec.search.sampler.options.get("prior", False)
    if said is False:
        return None
    if said is not True and not isinstance(said, dict):
        raise spec.error(key, f"is {said!r}; must be true, or a table such as {{ weight = 0.5, spread = 0.25 }}")
    if spec.search.sampler.name == "grid":
        raise spec.error(key, "does not go with grid, which tries every point once; choose another sampler")
    if not spec.space.known_good:
        raise spec.error(key, "draws around known-good starts, but the space has none: add [[space.known_good]]")
    try:
        return Prior() if said is True else Prior(**said)
    except (TypeError, ValueError) as error:
        raise option_error(spec, key, error) from None


def option_error(spec: StudySpec, key: str, error: Exception) -> SpecError:
    """One line about an option that Optuna does not take."""
    return spec.error(key, f"is refused: {str(error).split('__init__() ')[-1].splitlines()[0]}")
