"""Progress displays on standard error: a line that is redrawn in a terminal, a plain line now and then in a pipe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.live import Live
from rich.markup import escape
from rich.text import Text

from hpo.escaping import escape_controls
from hpo.evaluation.run_listener import RunListener
from hpo.results.formatting import format_duration, format_values
from hpo.search.budget import Budget, count_finished
from hpo.search.search_listener import SearchListener
from hpo.store.run_record import RunRecord
from hpo.store.study_record import StudyRecord
from hpo.store.trial_record import TrialRecord
from hpo.store.trial_state import outcome
from hpo.study.spec import StudySpec
from hpo.study.spec_tables import EveryExamples
from hpo.terminal.console import err, out, outcome_style

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

PLAIN_INTERVAL = 30  # seconds between two lines about a running trial in a pipe
REFRESHES_PER_SECOND = 4


class LiveLine:
    """A heading, and below it a detail that changes."""

    def __init__(self, heading: str = "loading data and checkpoint ...") -> None:
        is_live = err.is_terminal
        self.live = Live(console=err, refresh_per_second=REFRESHES_PER_SECOND, transient=True) if is_live else None
        self.heading = heading
        self.last_printed = time.monotonic()

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
            self.live.update(Text(self.heading))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Remove the live line."""
        if self.live:
            self.live.stop()

    def notice(self, text: str) -> None:
        """Print a message for the user, which stays."""
        line = escape_controls(text)
        err.print(escape(line if line.startswith("continuing") else f"note: {line}"), soft_wrap=True)

    def set_heading(self, text: str) -> None:
        """Show what starts now; in a pipe, print it."""
        self.heading = text
        self.last_printed = time.monotonic()
        if self.live:
            self.live.update(Text(text, overflow="ellipsis"))
        else:
            err.print(escape(text), soft_wrap=True)

    def set_detail(self, text: str) -> None:
        """Show how far it is; in a pipe, print it every PLAIN_INTERVAL seconds."""
        if self.live:
            self.live.update(Text(f"{self.heading}\n  {text}", overflow="ellipsis"))
        elif time.monotonic() - self.last_printed > PLAIN_INTERVAL:
            self.last_printed = time.monotonic()
            err.print(f"  {escape(text)}", soft_wrap=True)


class SearchProgress(LiveLine, SearchListener):
    """The running trial, and one line that stays per ended trial."""

    def __init__(self, spec: StudySpec) -> None:
        super().__init__()
        self.spec = spec
        self.last_rung = ""
        self.best: float | None = None
        self.best_number: int | None = None
        self.finished = 0
        self.session_start = time.monotonic()
        self.ended_in_session = 0

    def opens(self, study: Study) -> None:
        """Read what earlier sessions have finished; for a new study, print the smallest gain that it can find."""
        from hpo.results.smallest_gain import describe_smallest_gain  # imports scipy, which `hpo show` does without

        self._read_standing(study)
        data = StudyRecord.from_attributes(study.user_attrs).data
        if data and not self.finished and (gain := describe_smallest_gain(self.spec, data.rows.get("test"))):
            self.notice(gain)

    def runs(self, study: Study) -> None:
        """Show the progress of workers in other processes."""
        if self.live:
            running = sum(outcome(trial) == "running" for trial in study.get_trials(deepcopy=False))
            self.live.update(
                Text(
                    _join_parts(
                        f"{self.finished} of {self.spec.search.trials} trials finished",
                        f"{running} running",
                        self._format_best(),
                    )
                )
            )

    def begins(self, number: int, values: Mapping[str, Any], budget: Budget) -> None:
        """Show number and hyperparameters of the trial that starts."""
        self.budget = budget
        self.last_rung = ""
        self.set_heading(f"trial {self.finished + 1} of {budget.trials} (#{number})  {format_values(values)}")

    def step(self, step: int, steps: int, loss: float | None) -> None:
        """Show the step, the loss, the last rung, the best trial and the time left."""
        if loss is None:
            return
        time_left = self._format_time_left(step / steps)
        best = self._format_best()
        self.set_detail(_join_parts(f"step {step}/{steps}", f"loss {loss:.3f}", self.last_rung, best, time_left))

    def rung(self, rung: int, value: float) -> None:
        """Remember the score at the last rung."""
        self.last_rung = f"{self.spec.objective} {value:.4f} {format_rung(self.spec, rung)}"

    def ends(self, trial: FrozenTrial, study: Study) -> None:
        """Print one line about an ended trial."""
        self._read_standing(study)
        self.ended_in_session += 1
        record = TrialRecord.from_trial(trial)
        value = f"{record.value:.4f}" if record.value is not None else "      "
        mark = " *best" if record.number == self.best_number else ""
        reason = record.pause or record.reason or ""
        if record.outcome == "complete":
            reason = ""
        elif record.outcome == "pruned":
            reason = format_rung(self.spec, record.last_rung or 0)
        line = (
            f"#{record.number:<3} {record.outcome:<11} {value}  {record.seconds.wall:6.1f} s  "
            f"{format_values(record.params)}  {reason}{mark}"
        )
        err.print(Text(line.rstrip(), style=outcome_style(record.outcome)), soft_wrap=True)

    def _read_standing(self, study: Study) -> None:
        trials = study.get_trials(deepcopy=False)
        self.finished = count_finished(trials)
        if any(outcome(trial) == "complete" for trial in trials):
            self.best, self.best_number = study.best_value, study.best_trial.number

    def _format_best(self) -> str:
        return "" if self.best is None else f"best {self.best:.4f}"

    def _format_time_left(self, share: float) -> str:
        """Return the time left at the pace of this session, or until the timeout if that is earlier."""
        ended = self.ended_in_session + share
        missing = self.budget.trials - self.finished - share
        at_this_pace = (time.monotonic() - self.session_start) / ended * missing if ended > 0.05 else None
        estimates = [seconds for seconds in (at_this_pace, self.budget.seconds_left()) if seconds is not None]
        return f"about {format_duration(max(0.0, min(estimates)))} left" if estimates else ""


class RunProgress(LiveLine, RunListener):
    """The final run in progress, and one line that stays per ended run."""

    def begins(self, system: str, seed: int) -> None:
        """Show the run that starts."""
        self.set_heading(f"{system}, seed {seed}")

    def step(self, share: float, what: str) -> None:
        """Show the progress of the run."""
        self.set_detail(f"{share:4.0%}  {what}")

    def ends(self, trial: FrozenTrial) -> None:
        """Print one line about an ended run."""
        err.print(Text(_format_run(trial), style=outcome_style(outcome(trial))), soft_wrap=True)

    def finds(self, trial: FrozenTrial) -> None:
        """Print one line about a run that was stored before."""
        err.print(Text(f"{_format_run(trial)}  (stored before)", style="dim"), soft_wrap=True)


class PredictionProgress(LiveLine):
    """The number of predicted texts, unless the predictions themselves scroll through the same terminal."""

    def __init__(self, is_single: bool = False) -> None:
        super().__init__("loading the model ...")
        is_live = err.is_terminal and not out.is_terminal and not is_single
        # By default rich redirects standard output too, and would print the predictions on the terminal.
        self.live = (
            Live(console=err, refresh_per_second=REFRESHES_PER_SECOND, transient=True, redirect_stdout=False)
            if is_live
            else None
        )
        self.heading = "predicting"
        self.first: tuple[float, int] | None = None

    def update(self, done: int) -> None:
        """Show the number of texts, and the throughput since the first batch, which excludes loading the model."""
        now = time.monotonic()
        if self.first is None:  # in a pipe the interval starts here: a slow start is no reason to print a line
            self.first, self.last_printed = (now, done), now
        throughput = (done - self.first[1]) / max(now - self.first[0], 1e-3)
        if self.live or not err.is_terminal:
            digits = 0 if throughput >= 10 else 1
            self.set_detail(f"{done:,} texts" + (f", {throughput:,.{digits}f} per second" if throughput else ""))


def format_rung(spec: StudySpec, rung: int) -> str:
    """Return where in a trial a rung is: `at 25 % of its schedule`, or `after 4,000 examples`."""
    if isinstance(spec.search.rungs, EveryExamples):
        return f"after {rung:,} examples"
    return f"at {rung / 10:g} % of its schedule"  # these rungs are numbered in thousandths of the schedule


def _join_parts(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _format_run(trial: FrozenTrial) -> str:
    run = RunRecord.from_trial(trial)
    heading = f"{run.system:<18} seed {run.seed:<3}"
    if not run.is_complete:
        return f"{heading} {run.reason or run.outcome}"
    note = "" if run.trained_on == "train" else ", which it was trained on"
    costs = f"fit {format_duration(run.seconds.fit or 0.0)}, predict {format_duration(run.seconds.predict or 0.0)}"
    score = "no score on validation" if run.value is None else f"{run.value:.4f} on validation{note}"
    parts = [f"{heading} {score}", costs, run.description or ""]
    return "  ".join(part for part in parts if part)
