"""`hpo dashboard`."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Annotated

import typer

from hpo.cli.options import (
    OptionalStudyFile,
    Overrides,
    Storage,
    Verbose,
    configure_output,
    find_project_store,
    open_study,
)


def dashboard(
    study: OptionalStudyFile = None,
    host: Annotated[
        str, typer.Option(help="Address to serve at; one that other machines can reach needs --read-only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; if it is in use, a free one is chosen.")] = 8080,
    read_only: Annotated[bool, typer.Option("--read-only", help="Serve a copy of the store, without editing.")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
    storage: Storage = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Serve the store with optuna-dashboard, with the comparison, notes, plots and files of trials, until Ctrl-C.

    Example: hpo dashboard studies/imdb.toml
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        opened = open_study(study, set_, storage, verbose) if study else None
        configure_output(verbose)
        if not verbose:
            for name in ("optuna_dashboard", "hpo.dashboard"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
        from hpo.dashboard import serve_dashboard
        from hpo.store.storage import default_storage_url

        url = opened.url if opened else storage or default_storage_url(find_project_store())
        with serve_dashboard(url, opened.spec if opened else None, host, port, read_only) as page:
            typer.echo(f"{'copy of the store' if page.is_copy else 'store'}: {page.url}")
            if opened:
                typer.echo(f"comparison: {page.url}/note")
            if page.port != port != 0:
                typer.echo(f"note: port {port} is in use; serving at port {page.port}", err=True)
            typer.echo("press Ctrl-C to stop", err=True)
            if not no_browser and sys.stdout.isatty():
                page.show()
            page.wait()
    except KeyboardInterrupt:
        return  # the normal way to stop
