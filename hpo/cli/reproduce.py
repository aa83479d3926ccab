"""`hpo reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import Json, Overrides, Verbose, configure_output, parse_path
from hpo.terminal.process import interruptible


def reproduce(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="Zip file written by hpo export --format bundle.", parser=parse_path),
    ],
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of runs, with seeds from 0; by default the study's.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to work in; by default NAME-reproduced.", parser=parse_path),
    ] = None,
    set_: Overrides = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train the best values of a bundle again on the same data, and check the score against its seed spread.

    Example: hpo reproduce imdb.bundle.zip --set data.source=path/to/imdb
    """
    configure_output(verbose)
    from hpo.export.reproduction import reproduce_bundle
    from hpo.terminal.progress import RunProgress

    with interruptible(RunProgress()) as progress:
        result = reproduce_bundle(bundle, tuple(set_ or []), seeds, output, progress)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        for sentence in result.sentences():
            typer.echo(sentence)
    if not result.reproduced:
        raise typer.Exit(1)
