"""`hpo doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from hpo.cli.options import Json, OptionalStudyFile, Overrides, Storage, Verbose, configure_output, find_project_store


def doctor(
    study: OptionalStudyFile = None,
    storage: Storage = None,
    set_: Overrides = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Check the environment, the store and the models of a study. Changes nothing; exit code 1 if something is damaged.

    Example: hpo doctor studies/imdb.toml
    """
    configure_output(verbose)
    from hpo.diagnosis import diagnose
    from hpo.store.storage import default_storage_url, storage_url, store_exists
    from hpo.study.spec import load_study
    from hpo.terminal.diagnosis_report import print_diagnosis

    spec = load_study(study, tuple(set_ or ())) if study else None
    url = storage_url(spec, storage) if spec else storage
    default = default_storage_url(find_project_store())
    if url is None and store_exists(default):
        url = default
    diagnosis = diagnose(spec, url)
    if as_json:
        typer.echo(json.dumps({**asdict(diagnosis), "damaged": diagnosis.is_damaged}, indent=2))
    else:
        print_diagnosis(diagnosis, url)
    if diagnosis.is_damaged:
        raise typer.Exit(1)
