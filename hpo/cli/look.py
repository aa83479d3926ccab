"""The commands by which people look: where a study stands, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from hpo.cli.options import Json, MaybeStudy, Overrides, Storage, StudyFile, opened, store_folder
from hpo.terminal.session import quiet, stoppable


def show(study: MaybeStudy = None, storage: Storage = None, set_: Overrides = None, as_json: Json = False) -> None:
    """Show where a study stands, or list every study in the store.

    Example: hpo show studies/imdb.toml
    """
    found: Any
    shown: Callable[[Any], None]
    if study:
        own = opened(study, set_, storage)
        from hpo.terminal import tables

        found, shown = own.status(), tables.print_study
    else:
        quiet(False)
        from hpo.output import status
        from hpo.study import store
        from hpo.terminal import tables

        opened_store = store.open_storage(storage or store.default_url(store_folder()), create=False)
        found, shown = status.studies(store.summaries(opened_store)), tables.print_studies
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        shown(found)


def report(
    study: StudyFile,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write; by default the study's own folder.")
    ] = None,
    storage: Storage = None,
    set_: Overrides = None,
) -> None:
    """Write report.html, report.md and best_config.toml: did the search pay, what to use, can it be trusted.

    Example: hpo report studies/imdb.toml
    """
    own = opened(study, set_, storage)
    from hpo.terminal import progress, tables

    with stoppable(progress.RunProgress("comparing")) as screen:
        page = own.report(output, listener=screen)
    tables.print_written(page)
