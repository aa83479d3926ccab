"""`hpo retrain`."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.options import Json, Overrides, Storage, StudyFile, Verbose, open_study
from hpo.terminal.process import interruptible


def retrain(
    study: StudyFile,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Keep the model of this seed; by default the best on validation.")
    ] = None,
    storage: Storage = None,
    set_: Overrides = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train the best trial again, once per seed, and save the model to the study's folder.

    Example: hpo retrain studies/imdb.toml
    """
    opened = open_study(study, set_, storage, verbose)
    from hpo.terminal.progress import RunProgress
    from hpo.terminal.tables import print_retrained

    with interruptible(RunProgress()) as progress:
        result = opened.retrain(seed, listener=progress)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        print_retrained(result, opened.command("baseline"))
