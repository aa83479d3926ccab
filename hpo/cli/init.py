"""`hpo init`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import Verbose, configure_output, parse_path


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to write to.", parser=parse_path)] = Path("."),
    verbose: Verbose = False,
) -> None:
    """Write a commented starter study and search space.

    Example: hpo init my-project
    """
    from hpo.study.starter import write_starter

    configure_output(verbose, optuna=False)
    for path in write_starter(folder):
        typer.echo(f"wrote {path}")
    typer.echo(f"next: {shlex.join(['hpo', 'run', str(folder / 'studies' / 'first.toml')])}")
