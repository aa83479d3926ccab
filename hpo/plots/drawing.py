"""A figure with its alt text, and the helpers that phrase alt texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from hpo.plots.trial_selection import group_by_outcome
from hpo.results.formatting import format_value
from hpo.store.trial_record import TrialRecord


@dataclass(frozen=True)
class Drawing:
    """A figure, and one sentence that describes it to readers who cannot see it."""

    figure: go.Figure
    alt: str


def join_words(parts: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def count_trials(count: int) -> str:
    """Return `1 trial` or `1,000 trials`."""
    return f"{count:,} trial{'s' * (count > 1)}"


def describe_outcomes(trials: Sequence[TrialRecord]) -> str:
    """Return `30 complete and 12 pruned trials`."""
    parts = [f"{len(group):,} {outcome}" for outcome, group in group_by_outcome(trials).items()]
    return f"{join_words(parts)} trial{'s' * (len(trials) > 1)}"


def describe_change(first: float, last: float, number_format: str) -> str:
    """Return `rises from 0.7000 to 0.8000`, `falls ...` or `stays at ...`."""
    start, end = (f"{value:{number_format}}" for value in (first, last))
    if start == end:
        return f"stays at {end}"
    return f"{'rises' if last > first else 'falls'} from {start} to {end}"


def describe_params(trial: TrialRecord, names: Sequence[str]) -> str:
    """Return the trial's values of these parameters: `learning_rate 0.001 and optim adamw_torch`."""
    return join_words([f"{name} {format_value(trial.params[name])}" for name in names if name in trial.params])


def describe_range(values: Sequence[float]) -> str:
    """Return `from 0.1 to 0.2`, or `at 0.1` if both ends read the same."""
    ends = sorted({format_value(min(values)), format_value(max(values))}, key=float)
    return f"from {' to '.join(ends)}" if len(ends) > 1 else f"at {ends[0]}"
