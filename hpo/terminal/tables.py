"""What a search has found, a store holds, and what to type next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from hpo.results.formatting import (
    METRIC_HEADINGS,
    format_cost,
    format_duration,
    format_outcomes,
    format_throughput,
    format_value,
    format_values,
)
from hpo.results.study_status import study_status
from hpo.search.budget import why_ended
from hpo.study.spec import StudySpec
from hpo.terminal.console import OUTCOME_STYLES, print_line
from hpo.terminal.table_layout import Column, print_columns

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from hpo.evaluation.retraining import Candidate

Row = Mapping[str, Any]
MAX_ROWS, BEST_ROWS = 40, 20  # of more trials than many, only the best are shown, and how the others ended
LISTED = 5  # numbers of trials, and
LABELS = 12  # labels that are listed by name
ALL = "hpo show --json, or hpo export --format trials-csv,"
EXTRA_METRICS = ("accuracy", "f1_macro", "roc_auc", "log_loss")  # metrics of a baseline beside the objective


def print_outcome(study: Study, spec: StudySpec, following: str = "") -> None:
    """How the search ended, the best trial, and what to type next."""
    found = study_status(study)
    endings = format_outcomes(found["endings"])
    saved = f"; pruning saved {found['saved_by_pruning']:.0%}" if found["saved_by_pruning"] >= 0.005 else ""
    print_line(
        f"{spec.name}: {found['finished']} of {spec.search.trials} trials finished ({endings}) "
        f"in {format_duration(found['seconds'])}{saved}"
    )
    best = found["best"]
    if reason := why_ended(study, spec):
        print_line(f"ended early: {reason}")
    if best is None:
        print_line("no trial is complete, so there is no best one. Why trials ended:")
        if len(found["trials"]) > BEST_ROWS:
            _print_rest(found["trials"])
        else:
            for row in found["trials"]:
                print_line(f"  #{row['trial']} {row['reason'] or row['ending']}")
        return
    print_line(f"best trial #{best['trial']}: {spec.objective} {best['value']:.4f} on validation")
    for name, value in best["values"].items():
        print_line(f"  {name} = {value!r}")
    print_line(f"its weights: {spec.folder / 'best'}", whole=True)
    print_next(following)


def print_next(command: str) -> None:
    """What to type next, if anything."""
    if command:
        print_line(f"next: {command}", whole=True)


def print_retrained(spec: StudySpec, best: Candidate, run: FrozenTrial, following: str = "") -> None:
    """Which model lies where, and what to type next."""
    rows = "" if spec.final.train_on == "train" else f", fitted to {spec.final.train_on}"
    seed = run.user_attrs["seed"]
    print_line(f"model of trial #{best.trial}, seed {seed}{rows}: {spec.model_folder}", whole=True)
    print_next(following)


def print_studies(rows: list[dict[str, Any]]) -> None:
    """Every study of a store as a table."""
    if not rows:
        print_line("no study in the store")
        return
    columns = [
        Column(name, [_shown(row[name]) for row in rows], words=name not in {"trials", "best"}, kept=name == "study")
        for name in rows[0]
    ]
    print_columns(columns)


def print_study(found: dict[str, Any]) -> None:
    """One study: where it stands, its best values, and its trials as a table, the worst endings last.

    Of many trials the best are shown, and a line per ending for the others.
    """
    _print_standing(found)
    rows = found["trials"]
    shown = rows if len(rows) <= MAX_ROWS else rows[:BEST_ROWS]
    if shown:
        print_columns(_columns(shown, found["objectives"]))
    for row in shown:
        if text := explain_row(row):
            print_line(f"#{row['trial']} {text}")
    if len(shown) < len(rows):
        print_line(f"and {len(rows) - len(shown):,} more; {ALL} tells of each:")
        _print_rest(rows[len(shown) :])


def print_baselines(spec: StudySpec, made: Mapping[str, Sequence[FrozenTrial]]) -> None:
    """The baselines' scores on validation, and what they cost; scores on test are for the comparison alone."""
    complete = {name: [run for run in runs if run.state.name == "COMPLETE"] for name, runs in made.items()}
    scored = {name: [run.user_attrs["validation"]["metrics"] for run in runs] for name, runs in complete.items()}
    names = [spec.objective, *(name for name in EXTRA_METRICS if name != spec.objective)]
    values = {name: [[each[name] for each in runs if name in each] for runs in scored.values()] for name in names}
    fits = [[run.user_attrs["seconds"]["fit"] for run in runs] for runs in complete.values()]
    speeds = [[run.user_attrs["predicted_per_second"] for run in runs] for runs in complete.values()]
    print_columns(
        [
            Column("", list(made), words=True, kept=True),
            Column(spec.objective, [_mean(each, _shown) for each in values[spec.objective]], kept=True),
            Column("sd", [f"{stdev(each):.4f}" if len(each) > 1 else "" for each in values[spec.objective]]),
            *(Column(METRIC_HEADINGS[name], [_mean(each, _shown) for each in values[name]]) for name in names[1:]),
            Column("fit", [_mean(each, format_cost) for each in fits]),
            Column("texts/s", [_mean(each, format_throughput) for each in speeds]),
        ],
        "hpo compare --json",
    )
    seen = "" if spec.final.train_on == "train" else ", whose rows they were fitted to, so they say little"
    print_line(f"means over seeds, on validation{seen}; fit: device time of one fit; hpo compare scores them on test")
    for name, runs in made.items():
        if reasons := [run.user_attrs["reason"] for run in runs if run not in complete[name]]:
            print_line(f"{name}: {len(reasons)} of {len(runs)} runs failed: {reasons[0]}")
        if note := next((run.user_attrs["effective"]["as"] for run in runs if "as" in _effective(run)), ""):
            print_line(f"{name}: {note}")


def explain_row(row: Row) -> str:
    """What is worth saying of a trial beside its values."""
    if row["retry_of"] is not None:
        return f"again #{row['retry_of']}"
    if row["reason"] and row["ending"] not in {"pruned", row["reason"]}:
        return str(row["reason"])
    return f"start: {row['source']}" if row["source"] else ""


def _print_standing(found: Mapping[str, Any]) -> None:
    endings = format_outcomes(found["endings"])
    wanted = "" if found["wanted"] is None else f" of {found['wanted']}"
    print_line(f"{found['study']}: {found['finished']}{wanted} trials finished ({endings})")
    print_line(f"state: {found['state']}")
    if found["seconds"]:
        print_line(f"time spent {format_duration(found['seconds'])}, saved by pruning {found['saved_by_pruning']:.0%}")
    if found["speed"]:
        print_line(f"speed: {format_values(found['speed'])}")
    if found["data"]:
        rows = ", ".join(f"{count:,} {split}" for split, count in found["data"]["rows"].items())
        labels = found["data"]["labels"]
        more = f" and {len(labels) - LABELS} more" if len(labels) > LABELS else ""
        print_line(f"data: {rows}; labels {', '.join(labels[:LABELS])}{more}")
        print_line(f"device: {found['device']}")
    if best := found["best"]:
        print_line(f"best: #{best['trial']}, {found['objective']} {best['value']:.4f} ({found['direction']})")
    if found["front"]:
        print_line(f"none beats {_numbers(found['front'])} in all of {found['objective']} ({found['direction']})")


def _columns(rows: Sequence[Row], objectives: Sequence[str]) -> list[Column]:
    """Trials as columns: number, ending and value, which are always there, rung and time, and every value sampled."""
    several = len(objectives) > 1
    values = [row["value"] or [None] * len(objectives) if several else [row["value"]] for row in rows]
    scores = zip(objectives if several else ["value"], zip(*values, strict=True), strict=True)
    names = dict.fromkeys(name for row in rows for name in row["values"])
    sparse = {
        "rung": [_shown(row["rung"]) for row in rows],
        "time": [format_duration(row["seconds"]) if row["seconds"] else "" for row in rows],
    }
    return [
        Column("#", [str(row["trial"]) for row in rows], kept=True),
        Column(
            "ending",
            [row["ending"] for row in rows],
            words=True,
            kept=True,
            styles=[OUTCOME_STYLES.get(row["ending"], "red") for row in rows],
        ),
        *(Column(head, [_shown(value) for value in column], kept=True) for head, column in scores),
        *(Column(head, cells) for head, cells in sparse.items() if any(cells)),
        *(Column(name, [format_value(row["values"].get(name, "")) for row in rows]) for name in names),
    ]


def _print_rest(rows: Sequence[Row]) -> None:
    """A line per ending: how many trials, from which value to which, and the first reason."""
    for ending, group in groupby(sorted(rows, key=_ending), key=_ending):
        same = list(group)
        values = [row["value"] for row in same if isinstance(row["value"], float)]
        known = f"values {values[0]:.4f} to {values[-1]:.4f}" if values else _numbers([row["trial"] for row in same])
        parts = [f"{len(same):,} {ending}", known]
        if ending != "pruned" and (reason := next((_word(row) for row in same if _word(row)), "")):
            parts.append(f"such as {reason}")
        print_line("  " + "; ".join(parts))


def _word(row: Row) -> str:
    """The reason without the ending, where it says more than that."""
    return str(row["reason"] or "").partition(": ")[2]


def _ending(row: Row) -> str:
    return str(row["ending"])


def _numbers(numbers: Sequence[int]) -> str:
    """`#3, #17 and 4 more`."""
    more = f" and {len(numbers) - LISTED:,} more" if len(numbers) > LISTED else ""
    return ", ".join(f"#{number}" for number in numbers[:LISTED]) + more


def _effective(run: FrozenTrial) -> Mapping[str, Any]:
    return run.user_attrs.get("effective") or {}


def _mean(values: Sequence[float], shown: Callable[[float], str]) -> str:
    return shown(mean(values)) if values else ""


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
