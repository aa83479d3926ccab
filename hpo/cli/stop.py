"""`hpo stop`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hpo.cli.options import Json, Overrides, Storage, StudyFile, Verbose, open_study


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
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """End a running search, or one of its trials, from another shell.

    Example: hpo stop studies/imdb.toml
    """
    opened = open_study(study, set_, storage, verbose)
    from hpo.terminal.tables import print_stopped

    records = opened.stop(trial, wait=wait)
    if as_json:
        rows = [{"trial": record.number, "outcome": record.outcome, "reason": record.reason} for record in records]
        typer.echo(json.dumps({"study": opened.spec.name, "trials": rows}, indent=2))
    else:
        print_stopped(records, trial is not None, opened.command("search"))
