"""`hpo compare`."""

from __future__ import annotations

import typer

from hpo.cli.options import Json, Overrides, Storage, StudyFile, Verbose, open_study
from hpo.terminal.process import interruptible


def compare(
    study: StudyFile, storage: Storage = None, set_: Overrides = None, as_json: Json = False, verbose: Verbose = False
) -> None:
    """Compare the winner with every baseline on the test split.

    Example: hpo compare studies/imdb.toml
    """
    opened = open_study(study, set_, storage, verbose)
    from hpo.terminal.comparison_tables import print_comparison
    from hpo.terminal.progress import RunProgress

    with interruptible(RunProgress("comparing")) as progress:
        result = opened.compare(listener=progress)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        print_comparison(result)
