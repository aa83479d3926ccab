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
            "objective": _objective(summary),
            "trials": summary.n_trials,
            "best": summary.best_trial.value if summary.best_trial else None,
            "started": f"{summary.datetime_start:%Y-%m-%d %H:%M:%S}" if summary.datetime_start else None,
        }
        for summary in summaries
    ]


def study(stored: Study) -> dict[str, Any]:
    """Everything about one study: budget, best trial, time spent, share saved by pruning, and its trials.

    Trials come as complete ones, the best first, then others by how they ended. Of several objectives, which only a
    study has that hpo did not make, a trial's value is the list, none is the best, and `front` numbers those that no
    other beats in every objective.
    """
    trials = stored.get_trials(deepcopy=False)
    spec = stored.user_attrs.get("spec") or {}
    directions = [direction.name.lower() for direction in stored.directions]
    rows = [_row(trial) for trial in sorted(trials, key=lambda trial: _rank(trial, directions))]
    complete = [row for row in rows if row["ending"] == "complete"]
    wanted = (spec.get("search") or {}).get("trials")
    objectives = [spec["objective"]] if "objective" in spec else _objectives(stored)
    return {
        "study": stored.study_name,
        "objective": ", ".join(objectives),
        "objectives": objectives,
        "direction": ", ".join(directions),
        "finished": sum(is_finished(trial) for trial in trials),
        "wanted": wanted,
        "state": _state(trials, wanted),
        "endings": reasons(trials),
        "seconds": round(spent(trials), 1),
        "saved_by_pruning": _saved(trials),
        "data": stored.user_attrs.get("data"),
        "device": stored.user_attrs.get("device"),
        "best": complete[0] if complete and len(directions) == 1 else None,
        "front": sorted(trial.number for trial in stored.best_trials) if len(directions) > 1 else None,
        "trials": rows,
    }


def _objective(summary: StudySummary) -> str:
    named = (summary.user_attrs.get("spec") or {}).get("objective")
    return named or ("" if len(summary.directions) == 1 else f"{len(summary.directions)} objectives")


def _objectives(stored: Study) -> list[str]:
    """The names of the objectives of a study that hpo did not make."""
    return list(stored.metric_names or [f"objective {place}" for place in range(len(stored.directions))])


def _state(trials: list[FrozenTrial], wanted: int | None) -> str:
    if wanted is None:
        return "not made by hpo, so nothing is known of its budget"
    if any(ending(trial) == "running" for trial in trials):
        return "running, or its process was killed; hpo search finds out"
    return "finished" if sum(map(is_finished, trials)) >= wanted else "stopped; hpo search goes on with it"


def _row(trial: FrozenTrial) -> dict[str, Any]:
    attributes = trial.user_attrs
    return {
        "trial": trial.number,
        "ending": ending(trial),
        "value": _value(trial),
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


def _value(trial: FrozenTrial) -> Any:
    """The trial's value where it has one; a list where there are several objectives."""
    if ending(trial) not in {"complete", "pruned"} or not trial.values:
        return None
    return trial.values[0] if len(trial.values) == 1 else trial.values


def _rank(trial: FrozenTrial, directions: list[str]) -> tuple[int, float]:
    """Complete trials first, the best on top; then pruned ones, what still runs, and the failures last."""
    order = ["complete", "pruned", "running", "waiting"]
    place = order.index(ending(trial)) if ending(trial) in order else len(order) + is_superseded(trial)
    value = _value(trial)
    if value is None or isinstance(value, list):
        return place, 0.0
    return place, -value if directions == ["maximize"] else value


def _saved(trials: list[FrozenTrial]) -> float:
    """Seconds that pruned trials would have taken to their end, as a share of what the search would have taken."""
    saved = 0.0
    for trial in trials:
        steps, planned = trial.user_attrs.get("steps"), (trial.user_attrs.get("effective") or {}).get("max_steps")
        if ending(trial) == "pruned" and steps and planned:
            saved += wall(trial) * (planned / steps - 1)
    whole = sum(wall(trial) for trial in trials) + saved
    return round(saved / whole, 4) if whole else 0.0
