"""`hpo run`."""

from __future__ import annotations

import typer

from hpo.cli.options import (
    Engine,
    Json,
    NoTexts,
    Overrides,
    Overwrite,
    Storage,
    StudyFile,
    Timeout,
    Trials,
    Verbose,
    Workers,
    budget_overrides,
    open_study,
    without_texts,
)
from hpo.cli.search import run_search
from hpo.errors import TrainingError
from hpo.terminal.process import interruptible


def run(
    study: StudyFile,
    trials: Trials = None,
    timeout: Timeout = None,
    workers: Workers = None,
    engine: Engine = None,
    overwrite: Overwrite = False,
    no_texts: NoTexts = False,
    storage: Storage = None,
    set_: Overrides = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Search, retrain, run the baselines, compare and write the report; finished steps are not repeated.

    Example: hpo run studies/quickstart.toml
    """
    budget = budget_overrides(trials, timeout, workers, engine)
    opened = open_study(study, [*without_texts(set_, no_texts), *budget], storage, verbose)
    from hpo.api_results import RunResult
    from hpo.evaluation.baselines import baseline_names, check_baselines, run_baselines
    from hpo.evaluation.retraining import check_model_folders
    from hpo.report import check_report_files, write_report
    from hpo.search.budget import count_finished
    from hpo.store.trial_state import has_complete_trial
    from hpo.terminal.comparison_tables import print_comparison
    from hpo.terminal.progress import RunProgress
    from hpo.terminal.tables import print_retrained, print_search_outcome

    baselines = baseline_names(opened.spec)
    check_baselines(opened.spec, baselines)
    check_model_folders(opened.spec)
    check_report_files(opened.spec, opened.spec.folder, overwrite)
    stored = run_search(opened)
    trials_stored = stored.get_trials(deepcopy=False)
    if not as_json:
        print_search_outcome(stored, opened.spec)
    if not has_complete_trial(trials_stored):
        raise typer.Exit(1)
    failure = None
    with interruptible(RunProgress()) as progress, opened.open_final_runs(progress, searched=True) as final:
        winner = opened.retrain_within(final)
        try:
            run_baselines(final, baselines)
        except TrainingError as error:  # compare with the other baselines, then report the failure
            failure = error
    if not as_json:
        print_retrained(winner)
    with interruptible(RunProgress("comparing")) as progress:
        results = opened.results(progress.step, "compare")
        comparison = results.compare()
        if comparison and not as_json:
            print_comparison(comparison)
        report = write_report(results, opened.spec.folder, overwrite)
    if as_json:
        result = RunResult(
            study=opened.spec.name,
            finished=count_finished(trials_stored),
            winner=winner,
            comparison=comparison,
            note=results.missing_reason,
            report=report,
        )
        typer.echo(result.model_dump_json(indent=2))
    else:
        typer.echo(f"report: {report}")
    if failure:
        raise failure
