"""Which parameters mattered: their importance, how far it can be believed, and a figure of it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Container
from copy import copy
from functools import lru_cache

import optuna
import plotly.graph_objects as go
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from hpo.plots.parameter_axes import searched_axes
from hpo.plots.style import BLUE, MAX_HEIGHT, apply_style, floats, integers, wrap_label
from hpo.plots.trial_selection import complete_trials, objective_sign
from hpo.results.study_results import StudyResults
from hpo.store.trial_state import DIVERGED, INFEASIBLE, PRUNED, outcome

TOP, SHARE = 5, 0.1  # trials, and the share of all, that importance sets apart from the others
ENOUGH = 10  # finished trials per parameter from which on the ranking means something


@lru_cache(maxsize=1)  # table, plot and both their sentences ask for it
def importance(record: StudyResults) -> dict[str, float]:
    """Parameter -> its share in what sets the best trials apart, the largest first; empty where nothing can be told.

    PED-ANOVA (Watanabe et al. 2023): how far the best tenth's values are distributed otherwise than all trials'. At
    least five trials are the best ones, or half of few. Pruned trials, and those that their values brought down, count
    among all: what spoils trials early would otherwise seem to matter little.
    """
    names, best, others = (
        [axis.name for axis in searched_axes(record)],
        complete_trials(record),
        failed_by_values(record),
    )
    count = len(best) + len(others)
    top = min(max(TOP, math.ceil(SHARE * count)), count // 2, len(best))
    if not top or not names or (not others and len({tuple(trial.values) for trial in best}) == 1):
        return {}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=(top - 0.5) / count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of trials that are all among the best, for one
        found = evaluator.evaluate(_Ranked(record, best, others))
    total = sum(found.get(name, 0.0) for name in names)
    if not total > 0:
        return {}
    return dict(sorted(((name, found.get(name, 0.0) / total) for name in names), key=lambda each: -each[1]))


def failed_by_values(record: StudyResults) -> list[FrozenTrial]:
    """The trials that did not come to their end because of their values."""
    return [trial for trial in record.trials if outcome(trial) in {PRUNED, DIVERGED, INFEASIBLE} and trial.params]


class _Ranked(optuna.Study):
    """A study whose other finished trials, too, are complete, with values worse than any."""

    def __init__(self, record: StudyResults, best: list[FrozenTrial], others: list[FrozenTrial]) -> None:
        super().__init__(record.search.study_name, record.search._storage)
        signs = [objective_sign(record, place) for place in range(len(record.directions))]
        worst = [each * max(each * trial.values[place] for trial in best) + each for place, each in enumerate(signs)]
        self._ranked = list(best)
        for trial in map(copy, others):
            trial.state, trial.values = TrialState.COMPLETE, worst
            self._ranked.append(trial)

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return self._ranked


def importance_warning(record: StudyResults) -> str:
    """Why the importance means little, or why there is none, in a sentence; empty where it can be believed."""
    names, best = searched_axes(record), complete_trials(record)
    if not best:
        return "No trial is complete, so it cannot be told which parameters matter."
    if not names:
        return "Nothing was searched: every parameter has one value only."
    if not importance(record):
        return "The trials are too few, or too much alike in their values, to tell which parameters matter."
    count, wanted = len(best) + len(failed_by_values(record)), ENOUGH * len(names)
    if count < wanted:
        return (
            f"The order means little: {count} trials are few for {len(names)} parameters; "
            f"from about {wanted} on it can be believed."
        )
    if len(best) < TOP:
        return f"The order means little: only {len(best)} of {count} trials are complete, so few are the best."
    return ""


def importances(record: StudyResults) -> go.Figure | None:
    """The importance of each parameter as bars, the largest on top; None where there is none."""
    found = importance(record)
    if not found:
        return None
    shares = list(found.values())
    figure = go.Figure(
        go.Bar(
            x=floats(shares),
            y=integers(range(len(shares))),
            orientation="h",
            marker_color=BLUE,
            text=[f"{share:.0%}" for share in shares],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(title_text="Share of the importance", tickformat=".0%", range=[0, 1.12 * max(shares)])
    figure.update_yaxes(
        tickvals=list(range(len(shares))),
        ticktext=[wrap_label(name) for name in found],
        autorange="reversed",
        showgrid=False,
    )
    return apply_style(figure, min(MAX_HEIGHT, max(180, 90 + 32 * len(shares))), legend=False)
