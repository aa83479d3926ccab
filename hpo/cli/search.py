"""The commands that start and search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.options import Overrides, Storage, StudyFile, Timeout, Trials, Verbose, Workers, open_study_file
from hpo.errors import StudyError
from hpo.terminal.process import interruptible

if TYPE_CHECKING:
    from hpo.api import Study


def init(folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write.")] = Path(".")) -> None:
    """Write a starter study and search space, with comments that teach.

    Example: hpo init my-project
    """
    from hpo.study.starter import write_starter

    for path in write_starter(folder):
        typer.echo(f"wrote {path}")
    typer.echo(f"next: hpo run {folder / 'studies' / 'first.toml'}")


def search(
    study: StudyFile,
    trials: Trials = None,
    timeout: Timeout = None,
    workers: Workers = None,
    engine: Annotated[str | None, typer.Option(help="inline, processes or ray.")] = None,
    storage: Storage = None,
    set_: Overrides = None,
    force_new: Annotated[
        str | None, typer.Option(metavar="NAME", help="Start another study of that name from this file.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, timed on a few steps, and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Start the search, or continue it where it stands.

    Example: hpo search studies/imdb.toml --trials 30 --timeout 2h
    """
    from hpo.store.storage import find_stored_study
    from hpo.study.overrides import format_overrides

    if as_json and not dry_run:
        raise typer.BadParameter("goes with --dry-run", param_hint="--json")
    budget = format_overrides("search", {"trials": trials, "timeout": timeout, "workers": workers, "engine": engine})
    renamed = [*(set_ or []), *budget, *([f"name={json.dumps(force_new)}"] if force_new else [])]
    own = open_study_file(study, renamed, storage, verbose)
    if force_new and find_stored_study(own.spec, own.url):
        raise StudyError(f"--force-new {force_new}: there is such a study already; choose another name")
    if dry_run:
        print_dry_run(own, as_json)
    else:
        run_and_print(own, own.command("retrain"))


def print_dry_run(own: Study, as_json: bool) -> None:
    """Print what the search would take."""
    from hpo.terminal.estimate_report import EstimateProgress, print_estimate

    with interruptible(EstimateProgress(), "nothing was written") as screen:
        found = own.forecast(listener=screen)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        print_estimate(found)


def run_and_print(own: Study, following: str = "") -> None:
    """Search until the budget is spent, and print the outcome; exit code 1 where no trial is complete."""
    from hpo.terminal.progress import SearchProgress
    from hpo.terminal.tables import print_outcome

    with interruptible(SearchProgress(own.spec)) as screen:
        done = own.search(listener=screen)
    print_outcome(done, own.spec, following)
    if not any(trial.state.name == "COMPLETE" for trial in done.get_trials(deepcopy=False)):
        raise typer.Exit(1)
