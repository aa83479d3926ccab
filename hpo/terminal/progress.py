"""What the shell shows on standard error while something runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.live import Live
from rich.markup import escape
from rich.text import Text

from hpo.evaluation.run_listener import RunListener
from hpo.results.formatting import format_duration, format_values
from hpo.search.budget import Budget, count_finished
from hpo.search.search_listener import SearchListener
from hpo.store.trial_state import outcome
from hpo.study.spec import EveryExamples, StudySpec
from hpo.terminal.console import OUTCOME_STYLES, err, out

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

PLAIN_EVERY = 30  # seconds between two lines about a running trial where no terminal redraws them


class LiveLine:
    """One live line on standard error where that is a terminal; plain lines, now and then, where it is piped."""

    def __init__(self, first: str = "loading data and checkpoint ...") -> None:
        self.live = Live(console=err, refresh_per_second=4, transient=True) if err.is_terminal else None
        self.above = first
        self.told = time.monotonic()

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
            self.live.update(Text(self.above))
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

    def head(self, text: str) -> None:
        """What comes now; piped, a line of its own."""
        self.above = text
        self.told = time.monotonic()
        if self.live:
            self.live.update(Text(text, overflow="ellipsis"))
        else:
            err.print(escape(text), soft_wrap=True)

    def show(self, line: str) -> None:
        """Redraw the live line below its head; piped, a plain line now and then."""
        if self.live:
            self.live.update(Text(f"{self.above}\n  {line}", overflow="ellipsis"))
        elif time.monotonic() - self.told > PLAIN_EVERY:
            self.told = time.monotonic()
            err.print(f"  {escape(line)}", soft_wrap=True)


class SearchProgress(LiveLine, SearchListener):
    """A live line for the running trial and a lasting line per finished one."""

    def __init__(self, spec: StudySpec) -> None:
        super().__init__()
        self.spec = spec
        self.last_rung = ""
        self.best: float | None = None
        self.best_number: int | None = None
        self.done = 0
        self.sitting = time.monotonic()
        self.finished_here = 0

    def opens(self, study: Study) -> None:
        """Begin with what earlier sittings have done."""
        self._stand(study)

    def runs(self, study: Study) -> None:
        """The live line of a search whose workers are other processes."""
        if self.live:
            running = sum(outcome(trial) == "running" for trial in study.get_trials(deepcopy=False))
            parts = [f"{self.done} of {self.spec.search.trials} trials finished, {running} running", self._best()]
            self.live.update(Text("  ".join(part for part in parts if part)))

    def _stand(self, study: Study) -> None:
        trials = study.get_trials(deepcopy=False)
        self.done = count_finished(trials)
        if any(outcome(each) == "complete" for each in trials):
            self.best, self.best_number = study.best_value, study.best_trial.number

    def begins(self, number: int, values: Mapping[str, Any], budget: Budget) -> None:
        """The running trial's head: n of N, and its values."""
        self.budget = budget
        self.last_rung = ""
        self.head(f"trial {self.done + 1} of {budget.trials} (#{number})  {format_values(values)}")

    def step(self, step: int, steps: int, loss: float | None) -> None:
        """Redraw the live line; piped, a plain line now and then."""
        if loss is None:
            return
        parts = [f"step {step}/{steps}", f"loss {loss:.3f}", self.last_rung, self._best(), self._left(step / steps)]
        self.show("  ".join(part for part in parts if part))

    def rung(self, rung: int, value: float) -> None:
        """Remember the last rung for the live line."""
        self.last_rung = f"{self.spec.objective} {value:.4f} {format_rung(self.spec, rung)}"

    def ends(self, trial: FrozenTrial, study: Study) -> None:
        """One line per ended trial, which stays."""
        self._stand(study)
        self.finished_here += 1
        how = outcome(trial)
        value = f"{trial.value:.4f}" if trial.value is not None else "      "
        seconds = (trial.user_attrs.get("seconds") or {}).get("wall", 0.0)
        mark = " *best" if trial.number == self.best_number else ""
        reason = trial.user_attrs.get("reason", "") if how not in {"complete", "pruned"} else ""
        if how == "pruned":
            reason = format_rung(self.spec, max(trial.intermediate_values, default=0))
        text = f"#{trial.number:<3} {how:<11} {value}  {seconds:6.1f} s  {format_values(trial.params)}  {reason}{mark}"
        err.print(Text(text.rstrip(), style=OUTCOME_STYLES.get(how, "red")), soft_wrap=True)

    def _best(self) -> str:
        return "" if self.best is None else f"best {self.best:.4f}"

    def _left(self, share: float) -> str:
        """Time left, from the pace of this sitting, and never more than the timeout leaves."""
        here = self.finished_here + share
        missing = self.budget.trials - self.done - share
        left = (time.monotonic() - self.sitting) / here * missing if here > 0.05 else None
        cap = self.budget.seconds_left()
        known = [seconds for seconds in (left, cap) if seconds is not None]
        return f"about {format_duration(max(0.0, min(known)))} left" if known else ""


class RunProgress(LiveLine, RunListener):
    """A live line for the final run that is being made, and a lasting line per finished one."""

    def begins(self, system: str, seed: int) -> None:
        """The running run's head."""
        self.head(f"{system}, seed {seed}")

    def step(self, share: float, what: str) -> None:
        """How far it is."""
        self.show(f"{share:4.0%}  {what}")

    def ends(self, trial: FrozenTrial) -> None:
        """One line per run, which stays."""
        err.print(Text(_run_line(trial), style=OUTCOME_STYLES.get(outcome(trial), "red")), soft_wrap=True)

    def finds(self, trial: FrozenTrial) -> None:
        """The same line, with a word that nothing had to be done."""
        err.print(Text(f"{_run_line(trial)}  (made before)", style="dim"), soft_wrap=True)


class PredictionProgress(LiveLine):
    """How many texts are answered, where the answers themselves do not scroll by on the same terminal."""

    def __init__(self, alone: bool = False) -> None:
        super().__init__("loading the model ...")
        shown = err.is_terminal and not out.is_terminal and not alone
        # By default rich would take over standard output too, and send the answers to the terminal instead.
        self.live = Live(console=err, refresh_per_second=4, transient=True, redirect_stdout=False) if shown else None
        self.above = "predicting"
        self.began: tuple[float, int] | None = None

    def pulse(self, done: int) -> None:
        """Texts answered, and their pace since the first batch, so that loading the model does not count."""
        now = time.monotonic()
        self.began = self.began or (now, done)
        pace = (done - self.began[1]) / max(now - self.began[0], 1e-3)
        if self.live or not err.is_terminal:
            self.show(f"{done:,} texts" + (f", {pace:,.{0 if pace >= 10 else 1}f} a second" if pace else ""))


def format_rung(spec: StudySpec, rung: int) -> str:
    """Format a rung: `at 25 % of its schedule`, or `at 2,000 examples`."""
    if isinstance(spec.search.rungs, EveryExamples):
        return f"at {rung:,} examples"
    return f"at {rung / 10:g} % of its schedule"  # rungs are counted in thousandths


def _run_line(trial: FrozenTrial) -> str:
    attributes = trial.user_attrs
    head = f"{attributes.get('system', ''):<18} seed {attributes.get('seed', ''):<3}"
    if outcome(trial) != "complete":
        return f"{head} {attributes.get('reason', outcome(trial))}"
    seen = "" if attributes["trained_on"] == "train" else ", which it was fitted to"
    objective = f"{trial.value:.4f} on validation{seen}"
    seconds = attributes["seconds"]
    costs = f"fit {format_duration(seconds['fit'])}, predict {format_duration(seconds['predict'])}"
    note = (attributes.get("effective") or {}).get("as", "")
    return f"{head} {objective}  {costs}" + (f"  {note}" if note else "")
