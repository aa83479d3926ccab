"""Which trials the figures draw, and what they need to know of each."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from hpo.plots.style import OUTCOME_MARKS
from hpo.results.study_results import StudyResults
from hpo.store.trial_state import outcome, wall_seconds

BEST = 50  # trials that are always drawn; of the others a sample, where they are too many
LONG = 36_000  # seconds from which on a time axis counts hours
Improvement = tuple[float, FrozenTrial]  # a trial that is better than all before it, and where it stands among them


def objective_sign(record: StudyResults, place: int = 0) -> int:
    """What makes less of an objective's value better."""
    return -1 if record.directions[place] == "maximize" else 1


def trial_value(record: StudyResults, trial: FrozenTrial, place: int = 0) -> float | None:
    """A complete trial's value, else the last that it reported; None without one, or where it is no finite number."""
    if trial.state == TrialState.COMPLETE:
        found = trial.values[place]
    elif len(record.directions) > 1 or not trial.intermediate_values:
        return None
    else:
        found = trial.intermediate_values[max(trial.intermediate_values)]
    return found if math.isfinite(found) else None


def complete_trials(record: StudyResults) -> list[FrozenTrial]:
    """The complete trials, those aside of which a value is not finite."""
    return [trial for trial in record.complete if all(map(math.isfinite, trial.values))]


def finished_trials(record: StudyResults) -> list[FrozenTrial]:
    """The trials that came to an end or have a value, where any has one."""
    known = {trial.number for trial in record.trials if trial_value(record, trial) is not None}
    return [t for t in record.trials if t.state.is_finished() or t.number in known] if known else []


def trials_with_rungs(record: StudyResults) -> list[FrozenTrial]:
    """The trials that reported something on their way, where there is one objective."""
    if len(record.directions) > 1:
        return []
    return [trial for trial in record.trials if any(map(math.isfinite, trial.intermediate_values.values()))]


def trials_with_times(record: StudyResults) -> list[FrozenTrial]:
    """The trials of which it is known when they ran."""
    known = time_spans(record)
    return [trial for trial in record.trials if trial.number in known]


def time_spans(record: StudyResults) -> dict[int, tuple[float, float]]:
    """Trial -> its start and end in seconds of the clock; one that still runs has come to the last time known."""
    took = trial_seconds(record)
    times = [t for each in record.trials for t in (each.datetime_start, each.datetime_complete) if t]
    found = {}
    for trial in record.trials:
        if trial.datetime_start is not None:
            start = trial.datetime_start.timestamp()
            here = max(times).timestamp() - start if trial.state == TrialState.RUNNING else 0.0
            found[trial.number] = (start, start + max(took[trial.number], here))
    return {number: (start, end) for number, (start, end) in found.items() if end > start}


def trial_seconds(record: StudyResults) -> dict[int, float]:
    """Trial -> the seconds that it ran, as it says itself; of another program's, from its start to its end."""
    if record.is_ours:
        return {trial.number: wall_seconds(trial) for trial in record.trials}
    return {trial.number: trial.duration.total_seconds() if trial.duration else 0.0 for trial in record.trials}


def sample_trials(record: StudyResults, trials: list[FrozenTrial], most: int) -> list[FrozenTrial]:
    """The trials by number; where they are more than `most`, the best ones and others drawn by chance, always the same.

    Complete trials come before others; of several objectives the first counts.
    """
    if len(trials) <= most:
        return trials

    def rank(trial: FrozenTrial) -> tuple[bool, float]:
        return trial.state != TrialState.COMPLETE, objective_sign(record) * (trial_value(record, trial) or 0.0)

    ranked = sorted(trials, key=rank)
    chosen = ranked[:BEST] + random.Random(0).sample(ranked[BEST:], most - BEST)
    return sorted(chosen, key=lambda trial: trial.number)


def group_by_outcome(trials: Iterable[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    """Ending -> its trials, in the order in which endings have a look; those without one come last."""
    groups: dict[str, list[FrozenTrial]] = defaultdict(list)
    for trial in trials:
        groups[outcome(trial)].append(trial)
    return {name: groups[name] for name in dict.fromkeys([*OUTCOME_MARKS, *groups]) if name in groups}


def improvements(
    record: StudyResults, trials: Iterable[FrozenTrial], at: Callable[[FrozenTrial], float], place: int = 0
) -> list[Improvement]:
    """Each complete trial that is better in an objective than all before it, and where it stands by `at`."""
    found: list[Improvement] = []
    for trial in trials:
        if not found or objective_sign(record, place) * (trial.values[place] - found[-1][1].values[place]) < 0:
            found.append((at(trial), trial))
    return found


def improvements_by_time(record: StudyResults) -> tuple[list[Improvement], float]:
    """The same over the seconds that all trials together took, each counted at its end; and these seconds in all.

    Nothing where there are several objectives.
    """
    if len(record.directions) > 1:
        return [], 0.0
    ends = [(trial.datetime_complete, trial) for trial in record.trials if trial.datetime_complete]
    in_order = [trial for _, trial in sorted(ends, key=lambda each: (each[0], each[1].number))]
    took = trial_seconds(record)
    spent = np.cumsum([took[trial.number] for trial in in_order])
    clock = {trial.number: float(here) for trial, here in zip(in_order, spent, strict=True)}
    whole = {trial.number for trial in complete_trials(record)}
    found = improvements(record, (t for t in in_order if t.number in whole), lambda trial: clock[trial.number])
    return found, float(spent[-1]) if in_order else 0.0


def time_unit(total: float) -> tuple[float, str]:
    """A second in the unit of a time axis that is so many seconds long, and the unit's name."""
    return (1 / 3600, "hours") if total >= LONG else (1 / 60, "minutes")


def value_format(record: StudyResults) -> str:
    """How values of the objective are written, in the format language that plotly and Python share."""
    return ".4f" if record.is_ours else ".5g"
