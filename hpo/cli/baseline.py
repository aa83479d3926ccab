"""`hpo baseline`."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.options import Json, Overrides, Storage, StudyFile, Verbose, open_study
from hpo.terminal.process import interruptible


def baseline(
    study: StudyFile,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Baselines; by default those of the study file.")
    ] = None,
    storage: Storage = None,
    set_: Overrides = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run the study's baselines, or those named, on the same rows as the winner.

    Example: hpo baseline studies/imdb.toml tfidf-logreg-tuned recipe
    """
    opened = open_study(study, set_, storage, verbose)
    from hpo.api_results import BaselinesResult
    from hpo.terminal.progress import RunProgress
    from hpo.terminal.tables import print_baselines, print_next

    with interruptible(RunProgress()) as progress:
        runs = opened.baselines(*(names or []), listener=progress)
    if as_json:
        result = BaselinesResult.from_runs(opened.spec.name, opened.spec.objective, runs)
        typer.echo(result.model_dump_json(indent=2))
        return
    print_baselines(opened.spec, runs)
    print_next(opened.command("compare"))
