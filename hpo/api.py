"""A study file and what can be done with it: the same functions for notebooks and for the shell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hpo.errors import masked
from hpo.study import store
from hpo.study.overrides import written
from hpo.study.spec import load
from hpo.terminal.progress import Progress, RunProgress
from hpo.terminal.session import calm

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import optuna
    import pandas
    from optuna.trial import FrozenTrial

    from hpo.final.compare import Tell
    from hpo.final.listener import RunListener
    from hpo.final.retrain import Candidate
    from hpo.final.runs import Final
    from hpo.output.record import Record
    from hpo.search.listener import Listener

Heard = TypeVar("Heard")


class Study:
    """A study file in a notebook: `study = hpo.Study("studies/imdb.toml")`.

    `overrides` are `key=value` texts as after --set, `storage` an Optuna storage URL. A listener, where a method takes
    one, hears what goes on; without one, progress goes to standard error. All methods raise HpoError for what the user
    can mend; what was finished before an interrupt is in the store, and the same call goes on.
    """

    def __init__(self, file: str | Path, *overrides: str, storage: str | None = None) -> None:
        self.spec = load(file, overrides)
        self.url = store.url_of(self.spec, storage)
        is_named = storage is not None or len(self.spec.told_overrides) < len(overrides)
        self.storage = self.url if is_named else None  # what a command must name

    def __repr__(self) -> str:
        return f"Study({str(self.spec.file)!r}): {self.spec.name}, {self.spec.objective}"

    def command(self, verb: str) -> str:
        """What to type for this very study in this very store; a password in its URL is left out."""
        return self.spec.command(verb, *(["--storage", masked(self.storage)] if self.storage else []))

    def search(self, *, listener: Listener | None = None, **budget: Any) -> optuna.Study:
        """The study in its store after the search was started, or continued, until its budget is spent.

        `budget` takes trials, timeout (seconds, "2h"), workers and engine, in place of what stands in the file.
        """
        from hpo.search import engines

        if budget:  # it stays, so that whatever is told later knows of it
            self.spec = load(self.spec.file, (*self.spec.overrides, *written("search", budget)))
        with _heard(listener, lambda: Progress(self.spec)) as hearing:
            return engines.search(self.spec, self.url, hearing)

    def forecast(self, *, listener: Listener | None = None) -> dict[str, Any]:
        """What the search would take from here on: what `hpo search --dry-run --json` prints; nothing is written."""
        from hpo.search.forecast import forecast
        from hpo.terminal.forecast import Timing

        with _heard(listener, Timing) as hearing:
            return forecast(self.spec, self.url, hearing)

    @contextmanager
    def final(self, listener: RunListener, searched: bool = False) -> Iterator[Final]:
        """The final room, opened; see `hpo.final.runs.opened`."""
        from hpo.final import runs

        with runs.opened(self.spec, self.url, listener, searched) as opened:
            yield opened

    def retrain(self, seed: int | None = None, *, listener: RunListener | None = None) -> tuple[Candidate, FrozenTrial]:
        """The winner, trained anew once per seed, and the run whose model now lies in the study's folder."""
        from hpo.final.retrain import retrain

        with _heard(listener, RunProgress) as hearing, self.final(hearing, searched=True) as final:
            return retrain(final, seed)

    def baselines(self, *names: str, listener: RunListener | None = None) -> dict[str, list[FrozenTrial]]:
        """Baseline -> its runs: all of the study's, or those named, made where they are not there yet."""
        from hpo.final import baselines

        wanted = list(names) or baselines.names_of(self.spec)
        baselines.check(self.spec, wanted)
        with _heard(listener, RunProgress) as hearing, self.final(hearing) as final:
            return baselines.baseline(final, wanted)

    def compare(self, *, listener: RunListener | None = None) -> dict[str, Any]:
        """The verdict: what `hpo compare --json` prints."""
        from hpo.final.compare import compare

        with _heard(listener, lambda: RunProgress("comparing")) as hearing:
            return compare(self.spec, self.url, hearing.step)

    def report(self, folder: Path | None = None, *, listener: RunListener | None = None) -> Path:
        """The report.html of the study, written into its folder (or another) beside report.md and best_config.toml."""
        from hpo.output import report

        with _heard(listener, lambda: RunProgress("comparing")) as hearing:
            return report.write(self.record(hearing.step), folder or self.spec.folder)

    def record(self, tell: Tell | None = None, use: str = "report") -> Record:
        """Everything that the store holds of the study; the test split's ledger has an entry of this `use`."""
        from hpo.final.compare import silent
        from hpo.output.record import read

        return read(self.spec, self.url, tell or silent, use)

    @property
    def trials(self) -> pandas.DataFrame:
        """The search's trials, a row each; see `hpo.output.frame.frame` for the columns."""
        return self.record().frame

    def export(
        self, what: str = "best-config", target: Path | None = None, *, listener: RunListener | None = None
    ) -> Path:
        """What one of `hpo.output.export.FORMATS` was written to, a file or a folder; by default in the study's own."""
        from hpo.output.export import check, export

        check(what, push=False)
        with _heard(listener, lambda: RunProgress("reading the store")) as hearing:
            return export(self.record(hearing.step, "export"), what, target)

    def status(self, most: int | None = None) -> dict[str, Any]:
        """Where the study stands: what `hpo show --json` prints; see `hpo.output.status.study`."""
        from hpo.output import status

        return status.of(self.spec, self.url, most)


@contextmanager
def _heard(listener: Heard | None, screen: Callable[[], AbstractContextManager[Heard]]) -> Iterator[Heard]:
    """The listener that was given, or a screen that is taken away at the end and that nobody else writes on."""
    if listener is not None:
        yield listener
        return
    with calm(), screen() as shown:
        yield shown
