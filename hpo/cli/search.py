"""The commands that start and search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.options import Overrides, Storage, StudyFile, Timeout, Trials, Verbose, Workers, opened
from hpo.errors import StudyError
from hpo.terminal.session import stoppable

if TYPE_CHECKING:
    from hpo.api import Study


def init(folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write.")] = Path(".")) -> None:
    """Write a starter study and search space, with comments that teach.

    Example: hpo init my-project
    """
    from hpo.study.starter import write

    for path in write(folder):
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
    from hpo.study import store
    from hpo.study.overrides import written

    if as_json and not dry_run:
        raise typer.BadParameter("goes with --dry-run", param_hint="--json")
    budget = written("search", {"trials": trials, "timeout": timeout, "workers": workers, "engine": engine})
    renamed = [*(set_ or []), *budget, *([f"name={json.dumps(force_new)}"] if force_new else [])]
    own = opened(study, renamed, storage, verbose)
    if force_new and store.found(own.spec, own.url):
        raise StudyError(f"--force-new {force_new}: there is such a study already; choose another name")
    if dry_run:
        foretold(own, as_json)
    else:
        searched(own, own.command("retrain"))


def foretold(own: Study, as_json: bool) -> None:
    """Print what the search would take."""
    from hpo.terminal import forecast

    with stoppable(forecast.Timing(), "nothing was written") as screen:
        found = own.forecast(listener=screen)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        forecast.print_forecast(found)


def searched(own: Study, following: str = "") -> None:
    """Search until the budget is spent, and print the outcome; exit code 1 where no trial is complete."""
    from hpo.terminal import progress, tables

    with stoppable(progress.Progress(own.spec)) as screen:
        done = own.search(listener=screen)
    tables.print_outcome(done, own.spec, following)
    if not any(trial.state.name == "COMPLETE" for trial in done.get_trials(deepcopy=False)):
        raise typer.Exit(1)
