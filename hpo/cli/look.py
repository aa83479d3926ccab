"""The commands by which people look: where a study stands, and what came of it."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from hpo.cli.options import Json, MaybeStudy, Overrides, Storage, StudyFile, Verbose, open_study_file, store_folder
from hpo.terminal.process import interruptible, silence_libraries


def show(study: MaybeStudy = None, storage: Storage = None, set_: Overrides = None, as_json: Json = False) -> None:
    """Show where a study stands, or list every study in the store.

    Example: hpo show studies/imdb.toml
    """
    found: Any
    shown: Callable[[Any], None]
    silence_libraries(False, optuna=False)
    from hpo.terminal.tables import MAX_ROWS, print_studies, print_study

    if study:
        from hpo.api import Study

        most = None if as_json else MAX_ROWS
        found, shown = Study(study, *(set_ or []), storage=storage).status(most), print_study
    else:
        from hpo.results.study_status import read_all_studies
        from hpo.store.storage import default_storage_url

        found, shown = read_all_studies(storage or default_storage_url(store_folder())), print_studies
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
    own = open_study_file(study, set_, storage)
    from hpo.terminal.progress import RunProgress

    with interruptible(RunProgress("comparing")) as screen:
        page = own.report(output, listener=screen)
    typer.echo(f"report: {page}")


def dashboard(
    study: MaybeStudy = None,
    host: Annotated[
        str, typer.Option(help="Address to serve at; one that others reach needs --read-only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; where it is taken, a free one.")] = 8080,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show a copy, in which nothing can be changed.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address only.")] = False,
    storage: Storage = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Show the store in optuna-dashboard, with the verdict, notes, plots and files beside trials, until Ctrl-C.

    Example: hpo dashboard studies/imdb.toml
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        own = open_study_file(study, set_, storage, verbose) if study else None
        silence_libraries(verbose)
        if not verbose:
            for name in ("optuna_dashboard", "hpo.dashboard"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
        from hpo.dashboard import serve_dashboard
        from hpo.store.storage import default_storage_url

        url = own.url if own else storage or default_storage_url(store_folder())
        with serve_dashboard(url, own.spec if own else None, host, port, read_only) as page:
            typer.echo(f"{'a copy of the store' if page.is_copy else 'the store'}: {page.url}")
            if own:
                typer.echo(f"the verdict: {page.url}/note")
            if page.port != port != 0:
                typer.echo(f"note: port {port} is taken, so this is port {page.port}", err=True)
            typer.echo("Ctrl-C ends it", err=True)
            if not no_browser and sys.stdout.isatty():
                page.show()
            page.wait()
    except KeyboardInterrupt:
        return  # the user has seen enough
