"""PRUNERS, over rungs: Optuna's, which see no trial that was interrupted."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna import pruners
from optuna.pruners import BasePruner

from hpo.errors import unknown_name
from hpo.search.samplers import option_error
from hpo.store.trial_queue import replay_index
from hpo.store.trial_state import is_superseded
from hpo.study.spec import EveryExamples, StudySpec

PrunerOptions = Mapping[str, Any]
FULL_SCHEDULE = 1000  # the last rung, where rungs are shares of a schedule in thousandths


def without_superseded(study: optuna.Study) -> optuna.Study:
    """The study without trials that run again elsewhere: a result must not compete with itself."""
    view = copy.copy(study)

    def get_trials(deepcopy: bool = True, states: Any = None) -> list[optuna.trial.FrozenTrial]:
        return [trial for trial in study.get_trials(deepcopy, states) if not is_superseded(trial)]

    view.get_trials = get_trials  # type: ignore[method-assign]
    return view


class AshaPruner(pruners.SuccessiveHalvingPruner):
    """Asynchronous successive halving (Li et al. 2020) over the rungs."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether the trial is not among the best 1 / reduction_factor at its rung."""
        return super().prune(without_superseded(study), trial)


class ReplayableHyperband(pruners.HyperbandPruner):
    """Hyperband (Li et al. 2018): a trial's bracket follows from its place, which an interruption does not change."""

    def _get_bracket_id(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> int:
        if is_superseded(trial):
            return -1  # in nobody's bracket
        placed = copy.copy(trial)
        placed.number = replay_index(trial, study._storage.get_all_trials(study._study_id, deepcopy=False))
        return super()._get_bracket_id(study, placed)


def _asha(options: PrunerOptions, first: int, last: int | None) -> BasePruner:
    return AshaPruner(**{"min_resource": first, "reduction_factor": 2, **options})


def _hyperband(options: PrunerOptions, first: int, last: int | None) -> BasePruner:
    if last is None and "max_resource" not in options:
        raise ValueError("hyperband over rungs by examples needs max_resource, the examples of a whole trial")
    return ReplayableHyperband(**{"min_resource": first, "max_resource": last, "reduction_factor": 2, **options})


def _patient(options: PrunerOptions, first: int, last: int | None) -> BasePruner:
    own = dict(options)
    wrapped = own.pop("wrapped", None)
    if wrapped is not None and wrapped not in PRUNERS:
        raise ValueError(f"wrapped is {wrapped!r}; it {unknown_name(str(wrapped), PRUNERS)}")
    inner = PRUNERS[wrapped]({}, first, last) if wrapped else None
    # A patience of one would need three rungs before the last to say anything; by default there are two.
    return pruners.PatientPruner(inner, **{"patience": 0, **own})


# Each takes its options, the first rung, and the last one where it is the same for all trials.
PRUNERS: dict[str, Callable[[PrunerOptions, int, int | None], BasePruner]] = {
    "none": lambda options, first, last: pruners.NopPruner(**options),
    "median": lambda options, first, last: pruners.MedianPruner(**options),
    "percentile": lambda options, first, last: pruners.PercentilePruner(**{"percentile": 50.0, **options}),
    "asha": _asha,
    "hyperband": _hyperband,
    "patient": _patient,
    "threshold": lambda options, first, last: pruners.ThresholdPruner(**options),
}


def build_pruner(spec: StudySpec) -> BasePruner:
    """The study's pruner. Raises SpecError: an unknown name, an option that it does not take."""
    name, options = spec.search.pruner.name, spec.search.pruner.options
    if name not in PRUNERS:
        raise spec.error("search.pruner", f"is {name!r}; it {unknown_name(name, PRUNERS)}")
    rungs = spec.search.rungs
    if isinstance(rungs, EveryExamples):
        first, last = rungs.every_examples, None
    else:
        first, last = round(FULL_SCHEDULE * (rungs[0] if isinstance(rungs, list) else 1 / rungs)), FULL_SCHEDULE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return PRUNERS[name](options, first, last)
    except (TypeError, ValueError) as error:
        raise option_error(spec, "search.pruner", error) from None
