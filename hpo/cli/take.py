"""The commands by which people put a result to use."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import Json, Overrides, Storage, StudyFile, Verbose, open_study_file
from hpo.errors import HubError
from hpo.terminal.process import interruptible, silence_libraries


def predict(
    model: Annotated[
        Path, typer.Argument(metavar="STUDY|MODEL_DIR", help="The study file, or a folder that hpo retrain made.")
    ],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="One text; else --file, or standard input, a text a line.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Texts of a csv, tsv, json, jsonl, parquet or txt.")] = None,
    column: Annotated[
        str | None,
        typer.Option("--text", metavar="COLUMN", help="The file's column of texts; by default as in training."),
    ] = None,
    set_: Overrides = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, an object a text, with all probabilities.")
    ] = False,
) -> None:
    """Predict the label of a text, or of many, with the model that hpo retrain made.

    Example: hpo predict studies/imdb.toml "I would see it again."
    """
    try:
        from hpo.predict import load_predictor, locate_model
        from hpo.terminal.prediction_input import choose_input

        folder, trusted = locate_model(model, tuple(set_ or []))
        texts, ready = choose_input(folder, text, file, column)
        silence_libraries(False)
        from hpo.terminal.progress import PredictionProgress

        with PredictionProgress(alone=text is not None) as screen:
            for found in load_predictor(folder, trusted).stream(texts, screen.pulse, ready):
                row = {"label": found.label, "probability": found.probability, "probabilities": found.probabilities}
                between = "\t" if text is None else "  "
                typer.echo(json.dumps(row) if as_json else f"{found.label}{between}{found.probability:.3f}")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:  # who reads has had enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def export(
    study: StudyFile,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="best-config (TOML; -json, -yaml, -python), trials-csv, trials-parquet, model-card, model, bundle.",
            show_default="best-config, and model with --push-to-hub",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Where to write; by default below export/ in the study's folder."),
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make this repository of the model on the Hugging Face hub.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see that repository.")] = False,
    storage: Storage = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Write what a study has found, to be taken along: the best configuration, trials, model with card, bundle.

    Example: hpo export studies/imdb.toml --format model --output imdb-model
    """
    own = open_study_file(study, set_, storage, verbose)
    from hpo.export import hub_upload
    from hpo.export.formats import check_format
    from hpo.terminal.progress import RunProgress

    name = format_ or ("model" if push_to_hub else "best-config")
    check_format(name, push_to_hub is not None)
    if push_to_hub is not None:
        hub_upload.check_upload(push_to_hub)
    elif public:
        raise HubError("--public is about --push-to-hub NAME, which is not given")
    with interruptible(RunProgress("reading the store")) as screen:
        path = own.export(name, output, listener=screen)
        if push_to_hub is not None:
            screen.head(f"sending {path} to {push_to_hub}")
            typer.echo(hub_upload.push_to_hub(path, push_to_hub, public))
    typer.echo(path)


def reproduce(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The zip that hpo export --format bundle made.")],
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Runs, with seeds from 0 on; by default the study's own.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to work; by default NAME-reproduced, here.")
    ] = None,
    set_: Overrides = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train a bundle's best values anew on the same data, and say whether the score lies within the seed spread.

    Example: hpo reproduce imdb.bundle.zip --set data.source=path/to/imdb
    """
    silence_libraries(verbose)
    from hpo.export.reproduction import reproduce_bundle
    from hpo.terminal.progress import RunProgress

    with interruptible(RunProgress()) as screen:
        found = reproduce_bundle(bundle, tuple(set_ or []), seeds, output, screen)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        for sentence in found.sentences():
            typer.echo(sentence)
    if not found.reproduced:
        raise typer.Exit(1)
