"""`hpo search`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.options import (
    Engine,
    Overrides,
    Storage,
    StudyFile,
    Timeout,
    Trials,
    Verbose,
    Workers,
    budget_overrides,
    open_study,
)
from hpo.errors import StudyError
from hpo.terminal.process import interruptible

if TYPE_CHECKING:
    import optuna

    from hpo.api import Study


def search(
    study: StudyFile,
    trials: Trials = None,
    timeout: Timeout = None,
    workers: Workers = None,
    engine: Engine = None,
    storage: Storage = None,
    set_: Overrides = None,
    force_new: Annotated[
        str | None, typer.Option(metavar="NAME", help="Start another study with this name from the same file.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate time, memory and disk use without writing anything.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print the estimate as JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Start the search, or continue it.

    Example: hpo search studies/imdb.toml --trials 30 --timeout 2h
    """
    from hpo.store.storage import find_stored_study
    from hpo.study.overrides import format_override

    if as_json and not dry_run:
        raise typer.BadParameter("needs --dry-run", param_hint="--json")
    budget = budget_overrides(trials, timeout, workers, engine)
    new_name = [format_override("name", force_new)] if force_new else []
    opened = open_study(study, [*(set_ or []), *budget, *new_name], storage, verbose)
    if force_new and find_stored_study(opened.spec, opened.url):
        raise StudyError(f"--force-new {force_new}: this study exists already; choose another name")
    if dry_run:
        print_dry_run(opened, as_json)
        return
    stored = run_search(opened)
    from hpo.store.trial_state import has_complete_trial
    from hpo.terminal.tables import print_search_outcome

    is_complete = has_complete_trial(stored.get_trials(deepcopy=False))
    print_search_outcome(stored, opened.spec, opened.command("retrain"))
    if not is_complete:
        raise typer.Exit(1)


def print_dry_run(study: Study, as_json: bool) -> None:
    """Estimate what the search takes, and print it."""
    from hpo.terminal.estimate_report import EstimateProgress, print_estimate

    with interruptible(EstimateProgress(), "nothing was written") as progress:
        estimate = study.estimate(listener=progress)
    if as_json:
        typer.echo(estimate.model_dump_json(indent=2))
    else:
        print_estimate(estimate, study.spec)


def run_search(study: Study) -> optuna.Study:
    """Search until the budget is spent, with a progress display."""
    from hpo.terminal.progress import SearchProgress

    with interruptible(SearchProgress(study.spec)) as progress:
        return study.search(listener=progress)
