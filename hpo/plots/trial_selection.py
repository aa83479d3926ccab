"""Which trials the figures draw, and the values, durations and groups that they draw them by."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np

from hpo.plots.style import OUTCOME_MARKS
from hpo.results.study_results import StudyResults
from hpo.store.trial_order import sign
from hpo.store.trial_record import TrialRecord
from hpo.store.trial_state import NOT_ENDED

ALWAYS_DRAWN = 50  # best trials that every sample contains
MIN_SECONDS_IN_HOURS = 36_000  # time axes of this length or more count hours, shorter ones minutes
Improvement = tuple[float, TrialRecord]  # a trial better than all before it, and its position on an axis


def objective_sign(results: StudyResults, index: int = 0) -> int:
    """Return the factor that turns an objective into one that is minimized: -1 or 1."""
    return -sign(results.directions[index])


def read_value(results: StudyResults, trial: TrialRecord, index: int = 0) -> float | None:
    """Return a complete trial's value, else its last reported one; None if there is none or it is not finite."""
    if trial.outcome == "complete":
        value = trial.values[index]
    elif len(results.directions) > 1 or trial.last_rung is None:
        return None
    else:
        value = trial.rungs[trial.last_rung]
    return value if math.isfinite(value) else None


def select_complete(results: StudyResults) -> list[TrialRecord]:
    """Return the complete trials whose values are all finite."""
    return [trial for trial in results.complete if all(map(math.isfinite, trial.values))]


def rank_complete(results: StudyResults) -> list[TrialRecord]:
    """Return the complete trials, the best last, the first of equals after the others.

    Empty for a study with several objectives. Later points cover earlier ones, so this is the order to draw in.
    """
    if len(results.directions) > 1:
        return []
    factor = objective_sign(results)
    return sorted(select_complete(results), key=lambda trial: (-factor * (trial.value or 0.0), -trial.number))


def select_with_value(results: StudyResults) -> list[TrialRecord]:
    """Return the finished trials and those with a value; empty if no trial has one."""
    with_value = {trial.number for trial in results.trials if read_value(results, trial) is not None}
    if not with_value:
        return []
    return [t for t in results.trials if t.outcome not in NOT_ENDED or t.number in with_value]


def select_with_params(results: StudyResults) -> list[TrialRecord]:
    """Return the trials that have parameters and a value; empty for a study with several objectives."""
    if len(results.directions) > 1:
        return []
    return [trial for trial in results.trials if trial.params and read_value(results, trial) is not None]


def select_with_rungs(results: StudyResults) -> list[TrialRecord]:
    """Return the trials that reported a finite value at a rung; empty for a study with several objectives."""
    if len(results.directions) > 1:
        return []
    return [trial for trial in results.trials if any(map(math.isfinite, trial.rungs.values()))]


def select_timed(results: StudyResults) -> list[TrialRecord]:
    """Return the trials whose start and duration are known."""
    spans = compute_time_spans(results)
    return [trial for trial in results.trials if trial.number in spans]


def compute_time_spans(results: StudyResults) -> dict[int, tuple[float, float]]:
    """Return trial number -> start and end, in seconds since the epoch; trials without a duration are left out.

    A running trial ends at the latest time stamp of the study: the store does not say how far it is.
    """
    durations = compute_durations(results)
    stamps = [stamp for trial in results.trials for stamp in (trial.started, trial.completed) if stamp]
    spans = {}
    for trial in results.trials:
        if trial.started is not None:
            start = trial.started.timestamp()
            so_far = max(stamps).timestamp() - start if trial.outcome == "running" else 0.0
            spans[trial.number] = (start, start + max(durations[trial.number], so_far))
    return {number: (start, end) for number, (start, end) in spans.items() if end > start}


def compute_durations(results: StudyResults) -> dict[int, float]:
    """Return trial number -> seconds that it ran: as measured by hpo, else the difference of its time stamps."""
    if results.is_ours:
        return {trial.number: trial.seconds.wall for trial in results.trials}
    return {
        trial.number: (trial.completed - trial.started).total_seconds() if trial.started and trial.completed else 0.0
        for trial in results.trials
    }


def sample_trials(results: StudyResults, trials: list[TrialRecord], limit: int) -> list[TrialRecord]:
    """Return at most `limit` trials by number: the best ones and a random sample, always the same, of the others.

    Complete trials are better than others; with several objectives the first counts.
    """
    if len(trials) <= limit:
        return trials

    def rank(trial: TrialRecord) -> tuple[bool, float]:
        return trial.outcome != "complete", objective_sign(results) * (read_value(results, trial) or 0.0)

    ranked = sorted(trials, key=rank)
    sample = ranked[:ALWAYS_DRAWN] + random.Random(0).sample(ranked[ALWAYS_DRAWN:], limit - ALWAYS_DRAWN)
    return sorted(sample, key=lambda trial: trial.number)


def group_by_outcome(trials: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Return outcome -> its trials, in the order of OUTCOME_MARKS; other outcomes come last."""
    groups: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        groups[trial.outcome].append(trial)
    return {outcome: groups[outcome] for outcome in dict.fromkeys([*OUTCOME_MARKS, *groups]) if outcome in groups}


def find_improvements(
    results: StudyResults, trials: Iterable[TrialRecord], position: Callable[[TrialRecord], float], index: int = 0
) -> list[Improvement]:
    """Return each complete trial that is better in an objective than all before it, with its position on an axis."""
    improvements: list[Improvement] = []
    for trial in trials:
        if (
            not improvements
            or objective_sign(results, index) * (trial.values[index] - improvements[-1][1].values[index]) < 0
        ):
            improvements.append((position(trial), trial))
    return improvements


def find_improvements_over_time(results: StudyResults) -> tuple[list[Improvement], float]:
    """Return the improvements over device time, and the device time of all trials, in seconds.

    Each trial counts when it ends. Device time adds up over parallel workers, so it measures cost, not waiting.
    Empty for a study with several objectives.
    """
    if len(results.directions) > 1:
        return [], 0.0
    ends = [(trial.completed, trial.number, trial) for trial in results.trials if trial.completed]
    in_order = [trial for *_, trial in sorted(ends, key=lambda end: end[:2])]
    durations = compute_durations(results)
    spent = np.cumsum([durations[trial.number] for trial in in_order])
    spent_at_end = {trial.number: float(seconds) for trial, seconds in zip(in_order, spent, strict=True)}
    complete = {trial.number for trial in select_complete(results)}
    improvements = find_improvements(
        results, (trial for trial in in_order if trial.number in complete), lambda trial: spent_at_end[trial.number]
    )
    return improvements, float(spent[-1]) if in_order else 0.0


def choose_time_unit(seconds: float) -> tuple[float, str]:
    """Return the factor from seconds to the unit of a time axis of this length, and the unit's name."""
    return (1 / 3600, "hours") if seconds >= MIN_SECONDS_IN_HOURS else (1 / 60, "minutes")


def value_format(results: StudyResults) -> str:
    """Return the format of the objective's values, in the syntax that plotly and Python share."""
    return ".4f" if results.is_ours else ".5g"
