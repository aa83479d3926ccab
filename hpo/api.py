"""`hpo.Study`: a study file and what can be done with it. The command line calls the same methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hpo.paths import expand_path
from hpo.store.storage import storage_url
from hpo.study.overrides import format_overrides
from hpo.study.spec import load_study
from hpo.study.storage_url import StorageUrl
from hpo.terminal.process import quiet_libraries
from hpo.terminal.progress import RunProgress, SearchProgress

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import optuna
    import pandas
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

    from hpo.api_results import RetrainResult
    from hpo.evaluation.comparison import ComparisonProgress
    from hpo.evaluation.comparison_result import ComparisonResult
    from hpo.evaluation.final_runs import FinalRuns
    from hpo.evaluation.run_listener import RunListener
    from hpo.results.study_results import StudyResults
    from hpo.results.study_status import StudyStatus
    from hpo.search.estimate import Estimate
    from hpo.search.search_listener import SearchListener
    from hpo.store.run_record import RunRecord

_Listener = TypeVar("_Listener")


class Study:
    """A study file in a notebook: `study = hpo.Study("studies/imdb.toml")`.

    `overrides` are `key=value` texts as after --set, `storage` is an Optuna storage URL, and `sampler` and `pruner` are
    Optuna objects that replace those of the study file (engine `inline` only).

    Methods that take a listener report their progress to it; without one, progress is displayed on standard error.
    All methods raise HpoError for problems that the user can fix. What was finished before an interrupt is stored, and
    the same call continues.
    """

    def __init__(
        self,
        file: str | Path,
        *overrides: str,
        storage: str | None = None,
        sampler: BaseSampler | None = None,
        pruner: BasePruner | None = None,
    ) -> None:
        self.spec = load_study(file, overrides)
        self.url = storage_url(self.spec, storage)
        self.sampler = sampler
        self.pruner = pruner
        is_given = storage is not None or len(self.spec.public_overrides) < len(overrides)
        # The storage URL that commands for this study must repeat; its text hides the password.
        self.storage = StorageUrl.parse(storage or self.url) if is_given else None

    def __repr__(self) -> str:
        return f"Study({str(self.spec.file)!r}): {self.spec.name}, {self.spec.objective}"

    def command(self, verb: str) -> str:
        """Return the shell command for this study and store; the password of a storage URL is masked."""
        return self.spec.command(verb, *(["--storage", self.storage.text] if self.storage else []))

    def search(self, *, listener: SearchListener | None = None, **budget: Any) -> optuna.Study:
        """Start or continue the search until its budget is spent, and return the study in its store.

        `budget` may hold trials, timeout (seconds, or text such as "2h"), workers and engine; they replace those of the
        study file, also for later calls.
        """
        from hpo.search.engines import run_search

        if budget:
            self.spec = load_study(self.spec.file, (*self.spec.overrides, *format_overrides("search", budget)))
        with _choose_listener(listener, lambda: SearchProgress(self.spec)) as progress:
            return run_search(self.spec, self.url, progress, sampler=self.sampler, pruner=self.pruner)

    def estimate(self, *, listener: SearchListener | None = None) -> Estimate:
        """Estimate time, memory and disk use of the rest of the search, without writing anything."""
        from hpo.search.estimate import estimate_search
        from hpo.terminal.estimate_report import EstimateProgress

        with _choose_listener(listener, EstimateProgress) as progress:
            return estimate_search(self.spec, self.url, progress)

    @contextmanager
    def open_final_runs(
        self, listener: RunListener, searched: bool = False, uses_checkpoint: bool = True
    ) -> Iterator[FinalRuns]:
        """Open the final runs of the study for writing; see `hpo.evaluation.final_runs.open_final_runs`."""
        from hpo.evaluation.final_runs import open_final_runs
        from hpo.predict import load_predictor

        with open_final_runs(self.spec, self.url, listener, searched, uses_checkpoint, load_predictor) as final:
            yield final

    def retrain(self, seed: int | None = None, *, listener: RunListener | None = None) -> RetrainResult:
        """Train the winner once per seed, and keep the model of the best run, or of the run with this seed."""
        from hpo.evaluation.retraining import check_model_folders

        check_model_folders(self.spec)
        with (
            _choose_listener(listener, RunProgress) as progress,
            self.open_final_runs(progress, searched=True) as final,
        ):
            return self.retrain_within(final, seed)

    def retrain_within(self, final: FinalRuns, seed: int | None = None) -> RetrainResult:
        """Do the same within final runs that are open already."""
        from hpo.api_results import RetrainResult
        from hpo.evaluation.retraining import retrain
        from hpo.store.run_record import RunRecord

        winner, trial = retrain(final, seed)
        run = RunRecord.from_trial(trial)
        return RetrainResult(
            study=self.spec.name,
            trial=winner.trial,
            values=dict(winner.values),
            seed=run.seed,
            trained_on=run.trained_on,
            objective=self.spec.objective,
            validation=run.value,
            model_folder=self.spec.model_folder,
        )

    def baselines(self, *names: str, listener: RunListener | None = None) -> dict[str, list[RunRecord]]:
        """Run the study's baselines, or those named, unless they are stored, and return baseline -> runs."""
        from hpo.evaluation.baselines import (
            baseline_names,
            check_baselines,
            find_baseline,
            run_baselines,
        )
        from hpo.store.run_record import RunRecord

        wanted = list(names) or baseline_names(self.spec)
        check_baselines(self.spec, wanted)
        baselines = [find_baseline(name, self.spec) for name in wanted]
        searched = any(baseline.needs_search for baseline in baselines)
        uses_checkpoint = any(baseline.uses_checkpoint for baseline in baselines)
        with (
            _choose_listener(listener, RunProgress) as progress,
            self.open_final_runs(progress, searched, uses_checkpoint) as final,
        ):
            runs = run_baselines(final, wanted)
        return {name: [RunRecord.from_trial(run) for run in of_name] for name, of_name in runs.items()}

    def compare(self, *, listener: RunListener | None = None) -> ComparisonResult:
        """Compare the winner with its baselines on the test split."""
        from hpo.evaluation.comparison import compare_study

        with _choose_listener(listener, lambda: RunProgress("comparing")) as progress:
            return compare_study(self.spec, self.url, progress.step)

    def report(
        self, folder: Path | None = None, *, overwrite: bool = False, listener: RunListener | None = None
    ) -> Path:
        """Write report.html, report.md and best_config.toml to the study's folder or another; return report.html.

        Files of these names that hpo has not written are replaced only with `overwrite`.
        """
        from hpo.report import write_report

        with _choose_listener(listener, lambda: RunProgress("comparing")) as progress:
            return write_report(self.results(progress.step), expand_path(folder or self.spec.folder), overwrite)

    def results(self, on_progress: ComparisonProgress | None = None, use: str = "report") -> StudyResults:
        """Return everything that is stored about the study.

        If its comparison is read, the ledger of the test split gets an entry with this `use`.
        """
        from hpo.evaluation.comparison import no_progress
        from hpo.results.study_results import read_results

        return read_results(self.spec, self.url, on_progress or no_progress, use)

    @property
    def trials(self) -> pandas.DataFrame:
        """The trials of the search, one row each; `hpo.results.trials_table.build_trials_table` lists the columns."""
        return self.results().trials_table

    def export(
        self,
        name: str = "best-config",
        target: Path | None = None,
        *,
        overwrite: bool = False,
        raw: bool = False,
        system: str | None = None,
        listener: RunListener | None = None,
    ) -> Path:
        """Write one of `hpo.export.formats.FORMATS`, and return the path of the file or folder.

        What hpo has not written there is replaced only with `overwrite`. With `raw`, texts in a CSV file that a
        spreadsheet would run as formulas are left as they are. `system` is the one whose model the format `model`
        writes: a baseline, which is fitted again, or `winner`, the default.
        """
        from hpo.export.formats import check_format, export_format
        from hpo.study.spec_tables import WINNER

        check_format(name, raw=raw, system=system)
        target = target and expand_path(target)
        with _choose_listener(listener, lambda: RunProgress("reading the store")) as progress:
            results = self.results(progress.step, "export")
            if system is None or system == WINNER:
                return export_format(results, name, target, overwrite, raw)
            return self._export_baseline(results, system, target, overwrite, progress)

    def _export_baseline(
        self, results: StudyResults, name: str, target: Path | None, overwrite: bool, listener: RunListener
    ) -> Path:
        from hpo.evaluation.baselines import find_baseline
        from hpo.export.baseline_export import export_baseline, read_baseline_runs

        runs = read_baseline_runs(results, name)  # first, because loading data and checkpoint takes longer
        with self.open_final_runs(listener, uses_checkpoint=find_baseline(name, self.spec).uses_checkpoint) as final:
            return export_baseline(results, final, name, runs, target, overwrite)

    def status(self, most: int | None = None) -> StudyStatus:
        """Return the status of the study; with `most`, only that many trials with all their details."""
        from hpo.results.study_status import read_status

        return read_status(self.spec, self.url, most)


@contextmanager
def _choose_listener(
    listener: _Listener | None, create: Callable[[], AbstractContextManager[_Listener]]
) -> Iterator[_Listener]:
    """Yield the given listener, or a progress display, during which the libraries print nothing themselves."""
    if listener is not None:
        yield listener
        return
    with quiet_libraries(), create() as display:
        yield display
