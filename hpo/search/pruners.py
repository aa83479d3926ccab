"""PRUNERS: Optuna's pruners over the rungs of a trial, without trials that were interrupted."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import optuna
from optuna import pruners
from optuna.pruners import BasePruner

from hpo.errors import unknown_value
from hpo.search.samplers import option_error
from hpo.store.optuna_internals import read_all_trials
from hpo.store.trial_queue import replay_index
from hpo.store.trial_state import is_superseded
from hpo.study.spec import StudySpec
from hpo.study.spec_tables import EveryExamples

PrunerOptions = Mapping[str, Any]
FULL_SCHEDULE = 1000  # the last rung if rungs are shares of a schedule, counted in thousandths


def without_superseded(study: optuna.Study, number: int | None = None) -> optuna.Study:
    """Return a view of the study without trials that others repeat, and without the trial of this number.

    Otherwise the second attempt of a trial would compete with the results of its own first attempt.
    """
    view = copy.copy(study)

    def get_trials(deepcopy: bool = True, states: Any = None) -> list[optuna.trial.FrozenTrial]:
        trials = study.get_trials(deepcopy, states)
        return [trial for trial in trials if trial.number != number and not is_superseded(trial)]

    view.get_trials = get_trials  # type: ignore[method-assign]
    return view


def before_decision(trial: optuna.trial.FrozenTrial, promotion_steps: Iterable[float]) -> optuna.trial.FrozenTrial:
    """Return a copy of the trial as it was before its last rung was decided.

    Optuna notes in a trial which rungs of successive halving it has passed, before it decides. If the worker is killed
    in between, the trial would count as promoted when it continues. `promotion_steps` has the step of each rung.
    """
    steps = sorted(trial.intermediate_values)
    previous = steps[-2] if len(steps) > 1 else 0
    undecided = {f"completed_rung_{rung}" for rung, step in enumerate(promotion_steps) if step > previous}
    earlier = copy.copy(trial)
    earlier.system_attrs = {key: value for key, value in trial.system_attrs.items() if key not in undecided}
    return earlier


class AshaPruner(pruners.SuccessiveHalvingPruner):
    """Asynchronous successive halving (Li et al. 2020, https://arxiv.org/abs/1810.05934)."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether the trial is not among the best 1 / reduction_factor at its rung."""
        count = sum(key.startswith("completed_rung_") for key in trial.system_attrs)
        first = (self._min_resource or 1) * self._reduction_factor**self._min_early_stopping_rate
        promotion_steps = [first * self._reduction_factor**rung for rung in range(count)]
        return super().prune(without_superseded(study, trial.number), before_decision(trial, promotion_steps))


class ReplayableHyperband(pruners.HyperbandPruner):
    """Hyperband (Li et al. 2018, https://arxiv.org/abs/1603.06560) whose brackets survive an interruption.

    Optuna derives a trial's bracket from its number, which is another one if the trial runs again. Here it follows
    from the replay index, which stays the same.
    """

    def _get_bracket_id(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> int:
        if is_superseded(trial):
            return -1  # in no bracket
        renumbered = copy.copy(trial)
        renumbered.number = replay_index(trial, read_all_trials(study))
        return super()._get_bracket_id(study, renumbered)


def _asha(options: PrunerOptions, first: int, last: int | None) -> BasePruner:
    return AshaPruner(**{"min_resource": first, "reduction_factor": 2, **options})


def _hyperband(options: PrunerOptions, first: int, last: int | None) -> BasePruner:
    if last is None and "max_resource" not in options:
        raise ValueError("hyperband needs max_resource, the examples of a full trial, if rungs are counted in examples")
    return ReplayableHyperband(**{"min_resource": first, "max_resource": last, "reduction_factor": 2, **options})


def _patient(options: PrunerOptions, first: int, last: int | None) -> BasePruner:
    remaining = dict(options)
    wrapped = remaining.pop("wrapped", None)
    if wrapped is not None and wrapped not in PRUNERS:
        raise ValueError(f"wrapped {unknown_value(wrapped, PRUNERS)}")
    inner = PRUNERS[wrapped]({}, first, last) if wrapped else None
    # A patience of 1 needs three rungs before the last one to prune anything; by default there are two.
    return pruners.PatientPruner(inner, **{"patience": 0, **remaining})


# Name -> pruner, from its options, the first rung, and the last rung if it is the same for all trials.
PRUNERS: dict[str, Callable[[PrunerOptions, int, int | None], BasePruner]] = {
    "none": lambda options, first, last: pruners.NopPruner(**options),
    "median": lambda options, first, last: pruners.MedianPruner(**options),
    "percentile": lambda options, first, last: pruners.PercentilePruner(**{"percentile": 50.0, **options}),
    "asha": _asha,
    "hyperband": _hyperband,
    "patient": _patient,
    "threshold": lambda options, first, last: pruners.ThresholdPruner(**options),
}


def build_pruner(spec: StudySpec, instance: BasePruner | None = None) -> BasePruner:
    """Return the pruner of a study: the given instance, or the one that the study file names.

    Raises SpecError for an unknown name, and for an option that the pruner does not accept.
    """
    if instance is not None:
        return instance
    name, options = spec.search.pruner.name, spec.search.pruner.options
    if name not in PRUNERS:
        raise spec.error("search.pruner", unknown_value(name, PRUNERS))
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
