"""`hpo report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import (
    NoTexts,
    Overrides,
    Overwrite,
    Storage,
    StudyFile,
    Verbose,
    open_study,
    parse_path,
    without_texts,
)
from hpo.terminal.process import interruptible


def report(
    study: StudyFile,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write to; by default the study's folder.", parser=parse_path),
    ] = None,
    overwrite: Overwrite = False,
    no_texts: NoTexts = False,
    storage: Storage = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Write report.html, report.md and best_config.toml.

    Example: hpo report studies/imdb.toml
    """
    opened = open_study(study, without_texts(set_, no_texts), storage, verbose)
    from hpo.terminal.progress import RunProgress

    with interruptible(RunProgress("comparing")) as progress:
        page = opened.report(output, overwrite=overwrite, listener=progress)
    typer.echo(f"report: {page}")
