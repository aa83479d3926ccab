"""What each figure shows of a record, in a sentence for those who do not see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from optuna.trial import FrozenTrial

from hpo.evaluation.scores import expected_calibration_error
from hpo.plots import evaluation_figures, parameter_importance, search_figures
from hpo.plots.parameter_axes import searched_axes
from hpo.plots.parameter_figures import (
    MOST_LINES,
    MOST_POINTS,
    MOST_SLICES,
    best_few,
    contour_axes,
    ranked_complete,
    trials_with_values,
)
from hpo.plots.trial_selection import (
    BEST,
    complete_trials,
    finished_trials,
    group_by_outcome,
    improvements,
    improvements_by_time,
    time_spans,
    time_unit,
    trials_with_rungs,
    trials_with_times,
    value_format,
)
from hpo.results.study_results import StudyResults


def intervals(record: StudyResults) -> str:
    """How many baselines the winner beats, and its gain over the hardest."""
    rows = evaluation_figures.rivals(record) or evaluation_figures.hardest_first(record)
    better = sum(row["outcome"] == "better" for row in rows)
    return (
        f"The winner is better than {better} of {len(rows)} baselines; its smallest gain is "
        f"{evaluation_figures.format_gain(rows[0], record.spec.objective)}."
    )


def pareto(record: StudyResults) -> str:
    """How many trials are on the front, and how far it reaches."""
    front = record.search.best_trials
    ends = [
        f"{name} from {min(values):{value_format(record)}} to {max(values):{value_format(record)}}"
        for name, values in zip(record.objectives, zip(*(trial.values for trial in front), strict=True), strict=True)
    ]
    count = f"{len(front)} of {len(complete_trials(record))} trials"
    return f"{count} are beaten by no other in both objectives: {' and '.join(ends)}."


def history(record: StudyResults) -> str:
    """How the best value went over the trials, per objective."""
    if not complete_trials(record):
        return f"No trial is complete: {_endings(finished_trials(record))}."
    parts = []
    for place, name in enumerate(record.objectives):
        best = improvements(record, complete_trials(record), lambda trial: trial.number, place)
        first, last = (trial.values[place] for _, trial in (best[0], best[-1]))
        parts.append(f"best {name} so far {_went(record, first, last)}")
    return f"The {'; the '.join(parts)} over {_trials(len(record.trials))}."


def history_by_time(record: StudyResults) -> str:
    """When the best value was reached."""
    best, total = improvements_by_time(record)
    second, unit = time_unit(total)
    (at, trial), name = best[-1], record.objectives[0]
    value = f"{trial.values[0]:{value_format(record)}}"
    return f"The best {name}, {value}, is reached after {at * second:.1f} of {total * second:.1f} {unit}."


def curves(record: StudyResults) -> str:
    """How many trials came how far, and how the best one went."""
    text = f"The values of {_endings(trials_with_rungs(record))} at their rungs"
    if record.best is None or not record.best.intermediate_values:
        return f"{text}."
    values = [record.best.intermediate_values[rung] for rung in sorted(record.best.intermediate_values)]
    return f"{text}; the best, trial {record.best.number}, {_went(record, values[0], values[-1])}."


def importances(record: StudyResults) -> str:
    """The parameters that matter most."""
    parts = [f"{name} with {share:.0%}" for name, share in list(parameter_importance.importance(record).items())[:3]]
    return f"What sets the best trials apart: {', then '.join(parts)} of the importance."


def slices(record: StudyResults) -> str:
    """Where the best trial lies on each axis."""
    names = [axis.name for axis in searched_axes(record)]
    text = f"{_trials(len(trials_with_values(record)))} by {record.objectives[0]} and {_listed(names)}"
    return f"{text}; the best has {_values(record.best, names)}." if record.best else f"{text}; none is complete."


def parallel(record: StudyResults) -> str:
    """Between which values of the parameters that matter most the best trials lie."""
    best = best_few(ranked_complete(record))
    ranges = [axis.name for axis in searched_axes(record) if not axis.choices]
    first = [name for name in parameter_importance.importance(record) or ranges if name in ranges][:2]
    reached = {name: [trial.params[name] for trial in best if name in trial.params] for name in first}
    parts = [f"{name} {_reach(values)}" for name, values in reached.items() if values]
    many = f"best {len(best)} have" if len(best) > 1 else "best has"
    listed = " and ".join(parts) or "one choice or another"
    return f"Of {len(complete_trials(record)):,} complete trials the {many} {listed}."


def contour(record: StudyResults) -> str:
    """Where the best trial lies in the two ranges."""
    names = [axis.name for axis in contour_axes(record)]
    best = [trial for trial in ranked_complete(record) if all(name in trial.params for name in names)][-1]
    value = f"{best.values[0]:{value_format(record)}}"
    return f"The best {record.objectives[0]}, {value}, lies at {_values(best, names)}."


def timeline(record: StudyResults) -> str:
    """How many workers ran which trials, and for how long."""
    trials = trials_with_times(record)
    total = sum(end - start for start, end in time_spans(record).values())
    second, unit = time_unit(total)
    count = len(search_figures.workers(trials))
    took = f"{total * second:.1f} {unit}"
    return f"{_endings(trials)}, by {count} worker{'s' * (count > 1)}, in {took} of device time."


def optimism(record: StudyResults) -> str:
    """What was promised, and what is kept."""
    assert record.found
    kept = record.found["optimism"]
    parts = [f"{kept[split]['mean']:.4f} on {split}" for split in ("validation", "test") if kept[split]]
    return f"The search promised {kept['search']:.4f}; fresh seeds have {' and '.join(parts)} on average."


def confusion(record: StudyResults) -> str:
    """Which label is most often taken for which other."""
    counts, labels = evaluation_figures.confusion_counts(record)
    right = np.trace(counts) / counts.sum()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, -1)
    true, taken = np.unravel_index(shares.argmax(), shares.shape)
    worst = f"{labels[true]} is taken for {labels[taken]} ({shares[true, taken]:.1%} of its texts)"
    return f"{right:.1%} of the test texts get their label; most often {worst}."


def roc(record: StudyResults) -> str:
    """The area under each curve."""
    parts = [f"{curve.area:.3f} for {curve.name}" for curve in evaluation_figures.roc_curves(record)]
    return f"The area under the ROC curve is {_listed(parts)}."


def calibration(record: StudyResults) -> str:
    """How far confidence and accuracy are apart."""
    references, shares = evaluation_figures.deployed_predictions(record)
    right = (shares.argmax(axis=1) == references).mean()
    told = f"mean confidence is {shares.max(axis=1).mean():.1%}, its accuracy {right:.1%}"
    error = expected_calibration_error(references, shares)
    return f"The deployed run's {told}, its expected calibration error {error:.3f}."


ALT_TEXTS: dict[str, Callable[[StudyResults], str]] = {
    each.__name__: each
    for each in (
        intervals,
        pareto,
        history,
        history_by_time,
        curves,
        importances,
        slices,
        parallel,
        contour,
        timeline,
        optimism,
        confusion,
        roc,
        calibration,
    )
}


def sampling_note(record: StudyResults) -> str:
    """Which figures draw only some of the trials, in a sentence; empty where all draw all."""
    cases = (
        ("values", finished_trials, search_figures.MOST_POINTS),
        ("rung curves", trials_with_rungs, search_figures.MOST_CURVES),
        ("slices", trials_with_values, MOST_SLICES),
        ("lines through values", ranked_complete, MOST_LINES),
        ("contour", ranked_complete, MOST_POINTS),
        ("timeline", trials_with_times, search_figures.MOST_POINTS),
    )
    counts = [(name, most, len(chosen(record))) for name, chosen, most in cases]
    parts = [f"{name} {most:,} of {count:,}" for name, most, count in counts if count > most]
    if not parts:
        return ""
    return f"Not all trials are drawn, but the {BEST} best and others by chance: {', '.join(parts)}."


def _went(record: StudyResults, first: float, last: float) -> str:
    start, end = (f"{value:{value_format(record)}}" for value in (first, last))
    if start == end:
        return f"stays at {end}"
    return f"{'rises' if last > first else 'falls'} from {start} to {end}"


def _trials(count: int) -> str:
    return f"{count:,} trial{'s' * (count > 1)}"


def _endings(trials: Sequence[FrozenTrial]) -> str:
    parts = [f"{len(group):,} {name}" for name, group in group_by_outcome(trials).items()]
    return f"{_listed(parts)} trial{'s' * (len(trials) > 1)}"


def _values(trial: FrozenTrial, names: Sequence[str]) -> str:
    return _listed([f"{name} {_shown(trial.params[name])}" for name in names if name in trial.params])


def _reach(values: Sequence[float]) -> str:
    ends = sorted({_shown(min(values)), _shown(max(values))}, key=float)
    return f"from {' to '.join(ends)}" if len(ends) > 1 else f"at {ends[0]}"


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
