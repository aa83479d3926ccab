"""Where a study stands, as JSON values: what `hpo show` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hpo.search.budget import spent_seconds, stop_message
from hpo.store.sqlite_reader import StudySnapshot, StudySummary, read_study, read_summaries
from hpo.store.storage import list_studies, load_stored_study, open_storage
from hpo.store.trial_state import TrialView, count_outcomes, is_finished, is_superseded, outcome, wall_seconds
from hpo.study.spec import StudySpec

if TYPE_CHECKING:
    from optuna import Study


def list_rows(summaries: Sequence[StudySummary]) -> list[dict[str, Any]]:
    """One row per study of a store: name, objective, trials, best value, first start."""
    return [
        {
            "study": summary.name,
            "objective": _objective(summary),
            "trials": summary.trials,
            "best": summary.best,
            "started": f"{summary.started:%Y-%m-%d %H:%M:%S}" if summary.started else None,
        }
        for summary in summaries
    ]


def read_status(spec: StudySpec, url: str, most: int | None = None) -> dict[str, Any]:
    """Everything about a study in a store, as `study` has it. Raises StoreError and StudyError: no store, no study."""
    return study_status(read_study(url, spec.name, rank_trials, most) or load_stored_study(spec, url), most)


def read_all_studies(url: str) -> list[dict[str, Any]]:
    """One row per study of a store, as `studies` has them. Raises StoreError where there is no store."""
    found = read_summaries(url)
    return list_rows(found if found is not None else list_studies(open_storage(url, create=False)))


def snapshot(stored: Study) -> StudySnapshot:
    """What is told of a study that Optuna has read."""
    directions = [direction.name.lower() for direction in stored.directions]
    named = stored.metric_names or [f"objective {place}" for place in range(len(directions))]
    spec = stored.user_attrs.get("spec") or {}
    return StudySnapshot(
        stored.study_name,
        stored.user_attrs,
        directions,
        [spec["objective"]] if "objective" in spec else list(named),
        rank_trials(stored.get_trials(deepcopy=False), directions),
        sorted(trial.number for trial in stored.best_trials) if len(directions) > 1 else None,
    )


def study_status(stored: Study | StudySnapshot, most: int | None = None) -> dict[str, Any]:
    """Everything about one study: budget, best trial, time spent, share saved by pruning, and its trials.

    Trials come as complete ones, the best first, then others by how they ended; with `most`, those beyond have only
    number, ending, value and reason. Of several objectives, which only a study has that hpo did not make, a trial's
    value is the list, none is the best, and `front` numbers those that no other beats in every objective.
    """
    found = stored if isinstance(stored, StudySnapshot) else snapshot(stored)
    trials, attributes = found.trials, found.attributes
    rows = [*map(_row, trials[:most]), *(map(_short, trials[most:]) if most is not None else [])]
    finished = sum(is_finished(trial) for trial in trials)
    wanted = ((attributes.get("spec") or {}).get("search") or {}).get("trials")
    endings = count_outcomes(trials)
    has_best = rows and rows[0]["ending"] == "complete" and len(found.directions) == 1
    return {
        "study": found.name,
        "objective": ", ".join(found.objectives),
        "objectives": found.objectives,
        "direction": ", ".join(found.directions),
        "finished": finished,
        "wanted": wanted,
        "state": stop_message(attributes) or _state(endings, finished, wanted),
        "endings": endings,
        "seconds": round(spent_seconds(trials), 1),
        "saved_by_pruning": _saved(trials),
        "speed": attributes.get("speed"),
        "data": attributes.get("data"),
        "device": attributes.get("device"),
        "best": rows[0] if has_best else None,
        "front": found.front,
        "trials": rows,
    }


def rank_trials(trials: Sequence[TrialView], directions: Sequence[str]) -> list[TrialView]:
    """Complete trials first, the best on top; then pruned ones, what still runs, and the failures last."""
    order = {"complete": 0, "pruned": 1, "running": 2, "waiting": 3}
    sign = -1 if list(directions) == ["maximize"] else 1

    def place(trial: TrialView) -> tuple[int, float]:
        value = _value(trial)
        at = order.get(outcome(trial), len(order) + is_superseded(trial))
        return at, 0.0 if value is None or isinstance(value, list) else sign * value

    return sorted(trials, key=place)


def _objective(summary: StudySummary) -> str:
    named = (summary.attributes.get("spec") or {}).get("objective")
    return named or ("" if summary.directions == 1 else f"{summary.directions} objectives")


def _state(endings: dict[str, int], finished: int, wanted: int | None) -> str:
    if wanted is None:
        return "not made by hpo, so nothing is known of its budget"
    if "running" in endings:
        return "running, or its process was killed; hpo search finds out"
    return "finished" if finished >= wanted else "stopped; hpo search goes on with it"


def _short(trial: TrialView) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "ending": outcome(trial),
        "value": _value(trial),
        "reason": trial.user_attrs.get("reason"),
    }


def _row(trial: TrialView) -> dict[str, Any]:
    attributes = trial.user_attrs
    return {
        "trial": trial.number,
        "ending": outcome(trial),
        "value": _value(trial),
        "values": trial.params,
        "rung": max(trial.intermediate_values, default=None),
        "best_at_any_rung": attributes.get("best"),
        "metrics": (attributes.get("metrics") or {}).get(str(max(trial.intermediate_values, default=""))),
        "effective": attributes.get("effective"),
        "seconds": wall_seconds(trial),
        "source": attributes.get("source"),
        "retry_of": attributes.get("retry_of"),
        "reason": attributes.get("reason"),
    }


def _value(trial: TrialView) -> Any:
    """The trial's value where it has one; a list where there are several objectives."""
    if not trial.values or outcome(trial) not in {"complete", "pruned"}:
        return None
    return trial.values[0] if len(trial.values) == 1 else trial.values


def _saved(trials: Sequence[TrialView]) -> float:
    """Seconds that pruned trials would have taken to their end, as a share of what the search would have taken."""
    saved = 0.0
    for trial in trials:
        steps, planned = trial.user_attrs.get("steps"), (trial.user_attrs.get("effective") or {}).get("max_steps")
        if outcome(trial) == "pruned" and steps and planned:
            saved += wall_seconds(trial) * (planned / steps - 1)
    whole = sum(wall_seconds(trial) for trial in trials) + saved
    return round(saved / whole, 4) if whole else 0.0
