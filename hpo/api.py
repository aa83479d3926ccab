"""A study file and what can be done with it: the same functions for notebooks and for the shell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hpo.errors import mask_passwords
from hpo.store.storage import storage_url
from hpo.study.overrides import format_overrides
from hpo.study.spec import load_study
from hpo.terminal.process import quiet_libraries
from hpo.terminal.progress import RunProgress, SearchProgress

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import optuna
    import pandas
    from optuna.trial import FrozenTrial

    from hpo.evaluation.comparison import ComparisonProgress
    from hpo.evaluation.final_runs import FinalRuns
    from hpo.evaluation.retraining import Candidate
    from hpo.evaluation.run_listener import RunListener
    from hpo.results.study_results import StudyResults
    from hpo.search.estimate import Estimate
    from hpo.search.search_listener import SearchListener

Heard = TypeVar("Heard")


class Study:
    """A study file in a notebook: `study = hpo.Study("studies/imdb.toml")`.

    `overrides` are `key=value` texts as after --set, `storage` an Optuna storage URL. A listener, where a method takes
    one, hears what goes on; without one, progress goes to standard error. All methods raise HpoError for what the user
    can mend; what was finished before an interrupt is in the store, and the same call goes on.
    """

    def __init__(self, file: str | Path, *overrides: str, storage: str | None = None) -> None:
        self.spec = load_study(file, overrides)
        self.url = storage_url(self.spec, storage)
        is_named = storage is not None or len(self.spec.told_overrides) < len(overrides)
        self.storage = self.url if is_named else None  # what a command must name

    def __repr__(self) -> str:
        return f"Study({str(self.spec.file)!r}): {self.spec.name}, {self.spec.objective}"

    def command(self, verb: str) -> str:
        """What to type for this very study in this very store; a password in its URL is left out."""
        return self.spec.command(verb, *(["--storage", mask_passwords(self.storage)] if self.storage else []))

    def search(self, *, listener: SearchListener | None = None, **budget: Any) -> optuna.Study:
        """The study in its store after the search was started, or continued, until its budget is spent.

        `budget` takes trials, timeout (seconds, "2h"), workers and engine, in place of what stands in the file.
        """
        from hpo.search.engines import run_search

        if budget:  # it stays, so that whatever is told later knows of it
            self.spec = load_study(self.spec.file, (*self.spec.overrides, *format_overrides("search", budget)))
        with _heard(listener, lambda: SearchProgress(self.spec)) as hearing:
            return run_search(self.spec, self.url, hearing)

    def forecast(self, *, listener: SearchListener | None = None) -> Estimate:
        """Estimate what the search would take from here on; nothing is written."""
        from hpo.search.estimate import estimate_search
        from hpo.terminal.estimate_report import EstimateProgress

        with _heard(listener, EstimateProgress) as hearing:
            return estimate_search(self.spec, self.url, hearing)

    @contextmanager
    def final(self, listener: RunListener, searched: bool = False) -> Iterator[FinalRuns]:
        """The final room, opened; see `hpo.evaluation.final_runs.open_final_runs`."""
        from hpo.evaluation.final_runs import open_final_runs

        with open_final_runs(self.spec, self.url, listener, searched) as opened:
            yield opened

    def retrain(self, seed: int | None = None, *, listener: RunListener | None = None) -> tuple[Candidate, FrozenTrial]:
        """The winner, trained anew once per seed, and the run whose model now lies in the study's folder."""
        from hpo.evaluation.retraining import retrain

        with _heard(listener, RunProgress) as hearing, self.final(hearing, searched=True) as final:
            return retrain(final, seed)

    def baselines(self, *names: str, listener: RunListener | None = None) -> dict[str, list[FrozenTrial]]:
        """Baseline -> its runs: all of the study's, or those named, made where they are not there yet."""
        from hpo.evaluation.baselines import baseline_names, check_baselines, run_baselines

        wanted = list(names) or baseline_names(self.spec)
        check_baselines(self.spec, wanted)
        with _heard(listener, RunProgress) as hearing, self.final(hearing) as final:
            return run_baselines(final, wanted)

    def compare(self, *, listener: RunListener | None = None) -> dict[str, Any]:
        """The verdict: what `hpo compare --json` prints."""
        from hpo.evaluation.comparison import compare_study

        with _heard(listener, lambda: RunProgress("comparing")) as hearing:
            return compare_study(self.spec, self.url, hearing.step)

    def report(self, folder: Path | None = None, *, listener: RunListener | None = None) -> Path:
        """The report.html of the study, written into its folder (or another) beside report.md and best_config.toml."""
        from hpo.report import write_report

        with _heard(listener, lambda: RunProgress("comparing")) as hearing:
            return write_report(self.record(hearing.step), folder or self.spec.folder)

    def record(self, tell: ComparisonProgress | None = None, use: str = "report") -> StudyResults:
        """Everything that the store holds of the study; the test split's ledger has an entry of this `use`."""
        from hpo.evaluation.comparison import no_progress
        from hpo.results.study_results import read_results

        return read_results(self.spec, self.url, tell or no_progress, use)

    @property
    def trials(self) -> pandas.DataFrame:
        """The search's trials, a row each; see `hpo.results.trials_table.build_trials_table` for the columns."""
        return self.record().frame

    def export(
        self, what: str = "best-config", target: Path | None = None, *, listener: RunListener | None = None
    ) -> Path:
        """What one of `hpo.export.formats.FORMATS` was written to, a file or a folder."""
        from hpo.export.formats import check_format, export_format

        check_format(what, push=False)
        with _heard(listener, lambda: RunProgress("reading the store")) as hearing:
            return export_format(self.record(hearing.step, "export"), what, target)

    def status(self, most: int | None = None) -> dict[str, Any]:
        """Where the study stands: what `hpo show --json` prints; see `hpo.results.study_status.study_status`."""
        from hpo.results.study_status import read_status

        return read_status(self.spec, self.url, most)


@contextmanager
def _heard(listener: Heard | None, screen: Callable[[], AbstractContextManager[Heard]]) -> Iterator[Heard]:
    """The listener that was given, or a screen that is taken away at the end and that nobody else writes on."""
    if listener is not None:
        yield listener
        return
    with quiet_libraries(), screen() as shown:
        yield shown
