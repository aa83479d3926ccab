"""`hpo export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import (
    Json,
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
from hpo.errors import HubError
from hpo.terminal.process import interruptible


def export(
    study: StudyFile,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="best-config (TOML; -json, -yaml, -python), trials-csv, trials-parquet, model-card, model, bundle.",
            show_default="best-config, and model with --system or --push-to-hub",
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Whose model to write: a baseline, which is fitted again, or winner.",
            show_default="winner",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Path to write to; by default in export/ in the study's folder.", parser=parse_path
        ),
    ] = None,
    overwrite: Overwrite = False,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="In trials-csv: leave texts that a spreadsheet takes for formulas as they are."),
    ] = False,
    no_texts: NoTexts = False,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="NAME", help="Upload the model to this repository on the Hugging Face hub.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make that repository public.")] = False,
    storage: Storage = None,
    set_: Overrides = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Export the best configuration, the trials, a model with its card, or a bundle to reproduce it.

    Example: hpo export studies/imdb.toml --format model --output imdb-model
    """
    opened = open_study(study, without_texts(set_, no_texts), storage, verbose)
    from hpo.api_results import ExportResult
    from hpo.export import hub_upload
    from hpo.export.formats import MODEL_FORMAT, check_format
    from hpo.terminal.progress import RunProgress

    name = format_ or ("best-config" if push_to_hub is None and system is None else MODEL_FORMAT)
    check_format(name, push_to_hub is not None, raw, system)
    if push_to_hub is not None:
        hub_upload.check_upload(push_to_hub)
    elif public:
        raise HubError("--public needs --push-to-hub NAME")
    url = None
    with interruptible(RunProgress("reading the store")) as progress:
        path = opened.export(name, output, overwrite=overwrite, raw=raw, system=system, listener=progress)
        if push_to_hub is not None:
            progress.set_heading(f"uploading {path} to {push_to_hub}")
            url = hub_upload.push_to_hub(path, push_to_hub, public)
    if as_json:
        typer.echo(ExportResult(study=opened.spec.name, format=name, path=path, url=url).model_dump_json(indent=2))
        return
    if url:
        typer.echo(url)
    typer.echo(path)
