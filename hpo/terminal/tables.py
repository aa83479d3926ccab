"""What a search has found, a store holds, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hpo.output import status
from hpo.output.told import shown_time, shown_value
from hpo.study.spec import StudySpec
from hpo.terminal.words import STYLES, out

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from hpo.final.retrain import Candidate


def print_outcome(study: Study, spec: StudySpec, following: str = "") -> None:
    """How the search ended, the best trial, and what to type next."""
    found = status.study(study)
    endings = ", ".join(f"{count} {name}" for name, count in found["endings"].items())
    saved = f"; pruning saved {found['saved_by_pruning']:.0%}" if found["saved_by_pruning"] >= 0.005 else ""
    out.print(
        f"{spec.name}: {found['finished']} of {spec.search.trials} trials finished ({endings}) "
        f"in {shown_time(found['seconds'])}{saved}",
        soft_wrap=True,
    )
    best = found["best"]
    if found["finished"] < spec.search.trials:
        early = (
            "the study's time is spent; a longer --timeout goes on" if spec.search.timeout else "nothing is left to try"
        )
        out.print("it ended early: other processes still run trials" if "running" in found["endings"] else early)
    if best is None:
        out.print("no trial is complete, so there is no best one. Why trials ended:")
        for row in found["trials"]:
            out.print(f"  #{row['trial']} {escape(row['reason'] or row['ending'])}", soft_wrap=True)
        return
    out.print(f"best trial #{best['trial']}: {spec.objective} {best['value']:.4f} on validation")
    for name, value in best["values"].items():
        out.print(f"  {name} = {escape(repr(value))}")
    out.print(f"its weights: {escape(str(spec.folder / 'best'))}", soft_wrap=True)
    print_next(following)


def print_next(command: str) -> None:
    """What to type next, if anything."""
    if command:
        out.print(f"next: {escape(command)}", soft_wrap=True)


def print_retrained(spec: StudySpec, best: Candidate, run: FrozenTrial, following: str = "") -> None:
    """Which model lies where, and what to type next."""
    rows = "" if spec.final.train_on == "train" else f", fitted to {spec.final.train_on}"
    folder = escape(str(spec.model_folder))
    seed = run.user_attrs["seed"]
    out.print(f"model of trial #{best.trial}, seed {seed}{rows}: {folder}", soft_wrap=True)
    print_next(following)


def print_studies(rows: list[dict[str, Any]]) -> None:
    """Every study of a store as a table."""
    if not rows:
        out.print("no study in the store")
        return
    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column, justify="right" if column in {"trials", "best"} else "left")
    for row in rows:
        table.add_row(*(f"{value:.4f}" if isinstance(value, float) else str(value or "") for value in row.values()))
    out.print(table)


def print_study(found: dict[str, Any]) -> None:
    """One study: where it stands, its best values, and its trials as a table, the worst endings last."""
    endings = ", ".join(f"{count} {name}" for name, count in found["endings"].items())
    out.print(f"{escape(found['study'])}: {found['finished']} of {found['wanted']} trials finished ({endings})")
    out.print(f"state: {found['state']}")
    out.print(f"time spent {shown_time(found['seconds'])}, saved by pruning {found['saved_by_pruning']:.0%}")
    if found["data"]:
        rows = ", ".join(f"{count} {split}" for split, count in found["data"]["rows"].items())
        out.print(f"data: {rows}; labels {', '.join(found['data']['labels'])}", soft_wrap=True)
        out.print(f"device: {found['device']}", soft_wrap=True)
    best = found["best"]
    if best:
        out.print(f"best: #{best['trial']}, {found['objective']} {best['value']:.4f} ({found['direction']})")
    names = list(dict.fromkeys(name for row in found["trials"] for name in row["values"]))
    table = Table(box=None, pad_edge=False)
    for column in ("#", "ending", "value", "rung", "time", *names):
        table.add_column(column.replace("_", "\n"), justify="left" if column == "ending" else "right", no_wrap=True)
    for row in found["trials"]:
        table.add_row(
            str(row["trial"]),
            Text(row["ending"], style=STYLES.get(row["ending"], "red")),
            "" if row["value"] is None else f"{row['value']:.4f}",
            "" if row["rung"] is None else str(row["rung"]),
            shown_time(row["seconds"]),
            *(shown_value(row["values"].get(name, "")) for name in names),
        )
    out.print(table)
    for row in found["trials"]:
        if text := why(row):
            out.print(f"#{row['trial']} {escape(text)}", soft_wrap=True)


def why(row: Mapping[str, Any]) -> str:
    """What is worth saying of a trial beside its values."""
    if row["retry_of"] is not None:
        return f"again #{row['retry_of']}"
    if row["reason"] and row["ending"] not in {"pruned", row["reason"]}:
        return str(row["reason"])
    return f"start: {row['source']}" if row["source"] else ""
