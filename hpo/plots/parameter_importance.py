"""Which parameters matter: their importance, how reliable it is, and a figure of it."""

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

from hpo.plots.drawing import Drawing
from hpo.plots.parameter_axes import searched_axes
from hpo.plots.style import BLUE, MAX_HEIGHT, apply_style, to_float32, to_int32, wrap_label
from hpo.plots.trial_selection import objective_sign, select_complete
from hpo.results.study_results import StudyResults
from hpo.store.optuna_internals import storage_of
from hpo.store.trial_state import DIVERGED, INFEASIBLE, PRUNED

TOP_TRIALS, TOP_SHARE = 5, 0.1  # importance compares at least this many, and this share, with all trials
MIN_TRIALS_PER_PARAMETER = 10  # below this many finished trials the ranking is unreliable
FAILED_BY_VALUES = {PRUNED, DIVERGED, INFEASIBLE}  # outcomes that a trial's parameters caused


@lru_cache(maxsize=1)  # the table, the figure, its alt text and the warning all need it
def importance(results: StudyResults) -> dict[str, float]:
    """Return parameter -> its share of the importance, the largest first; empty if it cannot be computed.

    PED-ANOVA (Watanabe et al. 2023) measures how far the values of the best tenth are distributed otherwise than those
    of all trials. The best are at least five trials, or half of the trials if they are few. Trials that were pruned,
    diverged or did not fit into memory count among all: without them, a parameter that ruins trials early would seem
    to matter little.
    """
    complete = {trial.number for trial in select_complete(results)}
    failed = _find_failed(results)
    best = [trial for trial in results.frozen_trials if trial.number in complete]
    others = [trial for trial in results.frozen_trials if trial.number in failed]
    names = [axis.name for axis in searched_axes(results)]
    count = len(best) + len(others)
    top = min(max(TOP_TRIALS, math.ceil(TOP_SHARE * count)), count // 2, len(best))
    if not top or not names or (not others and len({tuple(trial.values) for trial in best}) == 1):
        return {}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=(top - 0.5) / count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for example that all trials are among the best
        shares = evaluator.evaluate(_FullyRankedStudy(results, best, others))
    total = sum(shares.get(name, 0.0) for name in names)
    if not total > 0:
        return {}
    return dict(sorted(((name, shares.get(name, 0.0) / total) for name in names), key=lambda item: -item[1]))


def _find_failed(results: StudyResults) -> set[int]:
    """Return the numbers of the trials that ended early because of their parameters."""
    return {trial.number for trial in results.trials if trial.outcome in FAILED_BY_VALUES and trial.params}


class _FullyRankedStudy(optuna.Study):
    """A study in which trials that ended early count as complete, with a value worse than any.

    Optuna's evaluator reads complete trials only, so it would ignore what pruning found out.
    """

    def __init__(self, results: StudyResults, complete: list[FrozenTrial], failed: list[FrozenTrial]) -> None:
        super().__init__(results.search.study_name, storage_of(results.search))
        signs = [objective_sign(results, index) for index in range(len(results.directions))]
        worst = [
            sign * max(sign * trial.values[index] for trial in complete) + sign for index, sign in enumerate(signs)
        ]
        self._ranked = list(complete)
        for trial in map(copy, failed):
            trial.state, trial.values = TrialState.COMPLETE, worst
            self._ranked.append(trial)

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return self._ranked


def importance_warning(results: StudyResults) -> str:
    """Return why the importance is unreliable or missing, as a sentence; empty if it is reliable."""
    axes, complete = searched_axes(results), select_complete(results)
    if not complete:
        return "No trial is complete, so the importance of the parameters is unknown."
    if not axes:
        return "No parameter was searched: each has only one value."
    if not importance(results):
        return "The importance of the parameters is unknown: there are too few trials, or their values are too similar."
    count, wanted = len(complete) + len(_find_failed(results)), MIN_TRIALS_PER_PARAMETER * len(axes)
    if count < wanted:
        return f"The ranking is unreliable: {count} trials for {len(axes)} parameters; about {wanted} are needed."
    if len(complete) < TOP_TRIALS:
        return f"The ranking is unreliable: only {len(complete)} of {count} trials are complete."
    return ""


def draw_importances(results: StudyResults) -> Drawing | None:
    """Draw the importance of each parameter as bars, the largest on top; None if it is unknown."""
    shares = importance(results)
    if not shares:
        return None
    figure = go.Figure(
        go.Bar(
            x=to_float32(shares.values()),
            y=to_int32(range(len(shares))),
            orientation="h",
            marker_color=BLUE,
            text=[f"{share:.0%}" for share in shares.values()],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(title_text="Share of the importance", tickformat=".0%", range=[0, 1.12 * max(shares.values())])
    figure.update_yaxes(
        tickvals=list(range(len(shares))),
        ticktext=[wrap_label(name) for name in shares],
        autorange="reversed",
        showgrid=False,
    )
    apply_style(figure, min(MAX_HEIGHT, max(180, 90 + 32 * len(shares))), legend=False)
    largest = [f"{name} with {share:.0%}" for name, share in list(shares.items())[:3]]
    return Drawing(figure, f"The most important parameters: {', then '.join(largest)} of the importance.")
