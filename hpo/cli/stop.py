"""`hpo stop`."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.options import Overrides, Storage, StudyFile, Verbose, open_study


def stop(
    study: StudyFile,
    trial: Annotated[
        int | None, typer.Argument(min=0, metavar="[TRIAL]", help="Number of a trial; by default the whole search.")
    ] = None,
    wait: Annotated[
        int, typer.Option("--wait", min=0, metavar="SECONDS", help="Wait so long for running trials to end.")
    ] = 60,
    storage: Storage = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """End a running search, or one of its trials, from another shell.

    Example: hpo stop studies/imdb.toml
    """
    opened = open_study(study, set_, storage, verbose)
    from hpo.terminal.tables import print_stopped

    print_stopped(opened.stop(trial, wait=wait), trial is not None, opened.command("search"))
