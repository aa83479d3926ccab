"""What each figure shows of a record, in a sentence for those who do not see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from optuna.trial import FrozenTrial

from hpo.final.scores import ece
from hpo.output.plots import final, ranking, search, space
from hpo.output.plots.axes import axes
from hpo.output.plots.trials import (
    BEST,
    by_ending,
    clock,
    complete,
    digits,
    ended,
    leaps,
    leaps_in_time,
    reported,
    spans,
    timed,
)
from hpo.output.record import Record


def intervals(record: Record) -> str:
    """How many baselines the winner beats, and its gain over the hardest."""
    rows = final.rivals(record) or final.hardest_first(record)
    better = sum(row["outcome"] == "better" for row in rows)
    return (
        f"The winner is better than {better} of {len(rows)} baselines; its smallest gain is "
        f"{final.said(rows[0], record.spec.objective)}."
    )


def pareto(record: Record) -> str:
    """How many trials are on the front, and how far it reaches."""
    front = record.search.best_trials
    ends = [
        f"{name} from {min(values):{digits(record)}} to {max(values):{digits(record)}}"
        for name, values in zip(record.objectives, zip(*(trial.values for trial in front), strict=True), strict=True)
    ]
    count = f"{len(front)} of {len(complete(record))} trials"
    return f"{count} are beaten by no other in both objectives: {' and '.join(ends)}."


def history(record: Record) -> str:
    """How the best value went over the trials, per objective."""
    if not complete(record):
        return f"No trial is complete: {_endings(ended(record))}."
    parts = []
    for place, name in enumerate(record.objectives):
        best = leaps(record, complete(record), lambda trial: trial.number, place)
        first, last = (trial.values[place] for _, trial in (best[0], best[-1]))
        parts.append(f"best {name} so far {_went(record, first, last)}")
    return f"The {'; the '.join(parts)} over {_trials(len(record.trials))}."


def history_by_time(record: Record) -> str:
    """When the best value was reached."""
    best, total = leaps_in_time(record)
    second, unit = clock(total)
    (at, trial), name = best[-1], record.objectives[0]
    value = f"{trial.values[0]:{digits(record)}}"
    return f"The best {name}, {value}, is reached after {at * second:.1f} of {total * second:.1f} {unit}."


def curves(record: Record) -> str:
    """How many trials came how far, and how the best one went."""
    text = f"The values of {_endings(reported(record))} at their rungs"
    if record.best is None or not record.best.intermediate_values:
        return f"{text}."
    values = [record.best.intermediate_values[rung] for rung in sorted(record.best.intermediate_values)]
    return f"{text}; the best, trial {record.best.number}, {_went(record, values[0], values[-1])}."


def importances(record: Record) -> str:
    """The parameters that matter most."""
    parts = [f"{name} with {share:.0%}" for name, share in list(ranking.importance(record).items())[:3]]
    return f"What sets the best trials apart: {', then '.join(parts)} of the importance."


def slices(record: Record) -> str:
    """Where the best trial lies on each axis."""
    names = [axis.name for axis in axes(record)]
    text = f"{_trials(len(space.sliced(record)))} by {record.objectives[0]} and {_listed(names)}"
    return f"{text}; the best has {_values(record.best, names)}." if record.best else f"{text}; none is complete."


def parallel(record: Record) -> str:
    """Between which values of the parameters that matter most the best trials lie."""
    best = space.best_few(space.ranked(record))
    ranges = [axis.name for axis in axes(record) if not axis.choices]
    first = [name for name in ranking.importance(record) or ranges if name in ranges][:2]
    reached = {name: [trial.params[name] for trial in best if name in trial.params] for name in first}
    parts = [f"{name} {_reach(values)}" for name, values in reached.items() if values]
    many = f"best {len(best)} have" if len(best) > 1 else "best has"
    return f"Of {len(complete(record)):,} complete trials the {many} {' and '.join(parts) or 'one choice or another'}."


def contour(record: Record) -> str:
    """Where the best trial lies in the two ranges."""
    names = [axis.name for axis in space.pair(record)]
    best = [trial for trial in space.ranked(record) if all(name in trial.params for name in names)][-1]
    value = f"{best.values[0]:{digits(record)}}"
    return f"The best {record.objectives[0]}, {value}, lies at {_values(best, names)}."


def timeline(record: Record) -> str:
    """How many workers ran which trials, and for how long."""
    trials = timed(record)
    total = sum(end - start for start, end in spans(record).values())
    second, unit = clock(total)
    count = len(search.workers(trials))
    took = f"{total * second:.1f} {unit}"
    return f"{_endings(trials)}, by {count} worker{'s' * (count > 1)}, in {took} of device time."


def optimism(record: Record) -> str:
    """What was promised, and what is kept."""
    assert record.found
    kept = record.found["optimism"]
    parts = [f"{kept[split]['mean']:.4f} on {split}" for split in ("validation", "test") if kept[split]]
    return f"The search promised {kept['search']:.4f}; fresh seeds have {' and '.join(parts)} on average."


def confusion(record: Record) -> str:
    """Which label is most often taken for which other."""
    counts, labels = final.confused(record)
    right = np.trace(counts) / counts.sum()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, -1)
    true, taken = np.unravel_index(shares.argmax(), shares.shape)
    worst = f"{labels[true]} is taken for {labels[taken]} ({shares[true, taken]:.1%} of its texts)"
    return f"{right:.1%} of the test texts get their label; most often {worst}."


def roc(record: Record) -> str:
    """The area under each curve."""
    parts = [f"{curve.area:.3f} for {curve.name}" for curve in final.roc_curves(record)]
    return f"The area under the ROC curve is {_listed(parts)}."


def calibration(record: Record) -> str:
    """How far confidence and accuracy are apart."""
    references, shares = final.answers(record)
    right = (shares.argmax(axis=1) == references).mean()
    told = f"mean confidence is {shares.max(axis=1).mean():.1%}, its accuracy {right:.1%}"
    return f"The deployed run's {told}, its expected calibration error {ece(references, shares):.3f}."


WORDS: dict[str, Callable[[Record], str]] = {
    each.__name__: each
    for each in (
        intervals, pareto, history, history_by_time, curves, importances, slices, parallel, contour, timeline, optimism,
        confusion, roc, calibration,
    )
}  # fmt: skip


def shown_trials(record: Record) -> str:
    """Which figures draw only some of the trials, in a sentence; empty where all draw all."""
    cases = (
        ("values", ended, search.MOST_POINTS),
        ("rung curves", reported, search.MOST_CURVES),
        ("slices", space.sliced, space.MOST_SLICES),
        ("lines through values", space.ranked, space.MOST_LINES),
        ("contour", space.ranked, space.MOST_POINTS),
        ("timeline", timed, search.MOST_POINTS),
    )
    counts = [(name, most, len(chosen(record))) for name, chosen, most in cases]
    parts = [f"{name} {most:,} of {count:,}" for name, most, count in counts if count > most]
    if not parts:
        return ""
    return f"Not all trials are drawn, but the {BEST} best and others by chance: {', '.join(parts)}."


def _went(record: Record, first: float, last: float) -> str:
    start, end = (f"{value:{digits(record)}}" for value in (first, last))
    if start == end:
        return f"stays at {end}"
    return f"{'rises' if last > first else 'falls'} from {start} to {end}"


def _trials(count: int) -> str:
    return f"{count:,} trial{'s' * (count > 1)}"


def _endings(trials: Sequence[FrozenTrial]) -> str:
    parts = [f"{len(group):,} {name}" for name, group in by_ending(trials).items()]
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
