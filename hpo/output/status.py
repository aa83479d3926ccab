"""Where a study stands, as JSON values: what `hpo show` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.search.budget import spent
from hpo.study.trials import ending, is_finished, is_superseded, reasons, wall

if TYPE_CHECKING:
    from optuna import Study
    from optuna.study import StudySummary
    from optuna.trial import FrozenTrial


def studies(summaries: list[StudySummary]) -> list[dict[str, Any]]:
    """One row per study of a store: name, objective, trials, best value, first start."""
    return [
        {
            "study": summary.study_name,
            "objective": (summary.user_attrs.get("spec") or {}).get("objective"),
            "trials": summary.n_trials,
            "best": summary.best_trial.value if summary.best_trial else None,
            "started": f"{summary.datetime_start:%Y-%m-%d %H:%M:%S}" if summary.datetime_start else None,
        }
        for summary in summaries
    ]


def study(stored: Study) -> dict[str, Any]:
    """Everything about one study: budget, best trial, time spent, share saved by pruning, and its trials.

    Trials come as complete ones, the best first, then others by how they ended.
    """
    trials = stored.get_trials(deepcopy=False)
    spec = stored.user_attrs.get("spec") or {}
    rows = [_row(trial) for trial in sorted(trials, key=lambda trial: _rank(trial, stored.direction.name))]
    complete = [row for row in rows if row["ending"] == "complete"]
    return {
        "study": stored.study_name,
        "objective": spec.get("objective"),
        "direction": stored.direction.name.lower(),
        "finished": sum(is_finished(trial) for trial in trials),
        "wanted": (spec.get("search") or {}).get("trials"),
        "state": _state(trials, (spec.get("search") or {}).get("trials", 0)),
        "endings": reasons(trials),
        "seconds": round(spent(trials), 1),
        "saved_by_pruning": _saved(trials),
        "data": stored.user_attrs.get("data"),
        "device": stored.user_attrs.get("device"),
        "best": complete[0] if complete else None,
        "trials": rows,
    }


def _state(trials: list[FrozenTrial], wanted: int) -> str:
    if any(ending(trial) == "running" for trial in trials):
        return "running, or its process was killed; hpo search finds out"
    return "finished" if sum(map(is_finished, trials)) >= wanted else "stopped; hpo search goes on with it"


def _row(trial: FrozenTrial) -> dict[str, Any]:
    attributes = trial.user_attrs
    return {
        "trial": trial.number,
        "ending": ending(trial),
        "value": trial.value if ending(trial) in {"complete", "pruned"} else None,
        "values": trial.params,
        "rung": max(trial.intermediate_values, default=None),
        "best_at_any_rung": attributes.get("best"),
        "metrics": (attributes.get("metrics") or {}).get(str(max(trial.intermediate_values, default=""))),
        "effective": attributes.get("effective"),
        "seconds": wall(trial),
        "source": attributes.get("source"),
        "retry_of": attributes.get("retry_of"),
        "reason": attributes.get("reason"),
    }


def _rank(trial: FrozenTrial, direction: str) -> tuple[int, float]:
    """Complete trials first, the best on top; then pruned ones, what still runs, and the failures last."""
    order = ["complete", "pruned", "running", "waiting"]
    place = order.index(ending(trial)) if ending(trial) in order else len(order) + is_superseded(trial)
    value = trial.value if trial.value is not None and place < 2 else 0.0
    return place, -value if direction == "MAXIMIZE" else value


def _saved(trials: list[FrozenTrial]) -> float:
    """Seconds that pruned trials would have taken to their end, as a share of what the search would have taken."""
    saved = 0.0
    for trial in trials:
        steps, planned = trial.user_attrs.get("steps"), (trial.user_attrs.get("effective") or {}).get("max_steps")
        if ending(trial) == "pruned" and steps and planned:
            saved += wall(trial) * (planned / steps - 1)
    whole = sum(wall(trial) for trial in trials) + saved
    return round(saved / whole, 4) if whole else 0.0
