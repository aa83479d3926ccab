"""What the shell shows: progress while a search runs, and tables of what a store holds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hpo.output import status
from hpo.search.budget import Budget, finished
from hpo.search.listener import Listener
from hpo.study.spec import StudySpec
from hpo.study.trials import ending

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

out, err = Console(highlight=False), Console(stderr=True, highlight=False)
STYLES = {"complete": "green", "pruned": "yellow", "running": "cyan", "waiting": "dim"}
PLAIN_EVERY = 30  # seconds between two lines about a running trial where no terminal redraws them


class Progress(Listener):
    """One live line for the running trial and a lasting line per finished one; plain lines where output is piped."""

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self.live = Live(console=err, refresh_per_second=4, transient=True) if err.is_terminal else None
        self.head = self.last_rung = ""
        self.best: float | None = None
        self.best_number: int | None = None
        self.done = 0
        self.started = self.told = self.sitting = time.monotonic()
        self.finished_here = 0

    def __enter__(self) -> Progress:
        if self.live:
            self.live.start()
            self.live.update(Text("loading data and checkpoint ..."))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the live line away."""
        if self.live:
            self.live.stop()

    def notice(self, text: str) -> None:
        """A line of its own."""
        err.print(f"note: {escape(text)}" if not text.startswith("continuing") else escape(text), soft_wrap=True)

    def opens(self, study: Study) -> None:
        """Begin with what earlier sittings have done."""
        self._stand(study)

    def runs(self, study: Study) -> None:
        """The live line of a search whose workers are other processes."""
        if self.live:
            running = sum(ending(trial) == "running" for trial in study.get_trials(deepcopy=False))
            parts = [f"{self.done} of {self.spec.search.trials} trials finished, {running} running", self._best()]
            self.live.update(Text("  ".join(part for part in parts if part)))

    def _stand(self, study: Study) -> None:
        trials = study.get_trials(deepcopy=False)
        self.done = finished(trials)
        if any(ending(each) == "complete" for each in trials):
            self.best, self.best_number = study.best_value, study.best_trial.number

    def begins(self, number: int, values: Mapping[str, Any], budget: Budget) -> None:
        """The running trial's head: n of N, and its values."""
        self.budget = budget
        self.head = f"trial {self.done + 1} of {budget.trials} (#{number})  {shown_values(values)}"
        self.last_rung = ""
        self.started = self.told = time.monotonic()
        if not self.live:
            err.print(escape(self.head), soft_wrap=True)

    def step(self, step: int, steps: int, loss: float | None) -> None:
        """Redraw the live line; piped, a plain line now and then."""
        if loss is None:
            return
        parts = [f"step {step}/{steps}", f"loss {loss:.3f}", self.last_rung, self._best(), self._left(step / steps)]
        line = "  ".join(part for part in parts if part)
        if self.live:
            self.live.update(Text(f"{self.head}\n  {line}", overflow="ellipsis"))
        elif time.monotonic() - self.told > PLAIN_EVERY:
            self.told = time.monotonic()
            err.print(f"  {line}", soft_wrap=True)

    def rung(self, rung: int, value: float) -> None:
        """Remember the last rung for the live line."""
        self.last_rung = f"{self.spec.objective} {value:.4f} at rung {rung}"

    def ends(self, trial: FrozenTrial, study: Study) -> None:
        """One line per ended trial, which stays."""
        self._stand(study)
        self.finished_here += 1
        how = ending(trial)
        value = f"{trial.value:.4f}" if trial.value is not None else "      "
        seconds = (trial.user_attrs.get("seconds") or {}).get("wall", 0.0)
        mark = " *best" if trial.number == self.best_number else ""
        reason = trial.user_attrs.get("reason", "") if how not in {"complete", "pruned"} else ""
        if how == "pruned":
            reason = f"at rung {max(trial.intermediate_values, default=0)}"
        text = f"#{trial.number:<3} {how:<11} {value}  {seconds:6.1f} s  {shown_values(trial.params)}  {reason}{mark}"
        err.print(Text(text.rstrip(), style=STYLES.get(how, "red")), soft_wrap=True)

    def _best(self) -> str:
        return "" if self.best is None else f"best {self.best:.4f}"

    def _left(self, share: float) -> str:
        """Time left, from the pace of this sitting, and never more than the timeout leaves."""
        here = self.finished_here + share
        missing = self.budget.trials - self.done - share
        left = (time.monotonic() - self.sitting) / here * missing if here > 0.05 else None
        cap = self.budget.seconds_left()
        known = [seconds for seconds in (left, cap) if seconds is not None]
        return f"about {shown_time(max(0.0, min(known)))} left" if known else ""


def print_outcome(study: Study, spec: StudySpec, show: str) -> None:
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
    out.print(f"next: {escape(show)}", soft_wrap=True)


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


def shown_value(value: Any) -> str:
    """A value with as many digits as a person reads."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def shown_values(values: Mapping[str, Any]) -> str:
    """`name=value`, one after the other."""
    return " ".join(f"{name}={shown_value(value)}" for name, value in values.items())


def shown_time(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
