"""`hpo show`."""

from __future__ import annotations

import json

import typer

from hpo.cli.options import Json, OptionalStudyFile, Overrides, Storage, Verbose, configure_output, find_project_store


def show(
    study: OptionalStudyFile = None,
    storage: Storage = None,
    set_: Overrides = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show the status of a study, or list all studies of the store.

    Example: hpo show studies/imdb.toml
    """
    # Importing Optuna to silence it would take longer than all the rest of this command.
    configure_output(verbose, optuna=False)
    from hpo.terminal.tables import MAX_ROWS, print_studies, print_study

    if study:
        from hpo.api import Study

        status = Study(study, *(set_ or []), storage=storage).status(None if as_json else MAX_ROWS)
        if as_json:
            typer.echo(status.model_dump_json(indent=2))
        else:
            print_study(status)
        return
    from hpo.results.study_status import read_all_studies
    from hpo.store.storage import default_storage_url

    rows = read_all_studies(storage or default_storage_url(find_project_store()))
    if as_json:
        typer.echo(json.dumps([row.model_dump() for row in rows], indent=2))
    else:
        print_studies(rows)
