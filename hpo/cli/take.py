"""The commands by which people put a result to use."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import Overrides
from hpo.terminal.session import quiet


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
        from hpo.output.predict import load, locate
        from hpo.terminal.asked import asked

        folder, trusted = locate(model, tuple(set_ or []))
        texts, ready = asked(folder, text, file, column)
        quiet(False)
        from hpo.terminal import progress

        with progress.Predicting(alone=text is not None) as screen:
            for found in load(folder, trusted).stream(texts, screen.pulse, ready):
                row = {"label": found.label, "probability": found.probability, "probabilities": found.probabilities}
                between = "\t" if text is None else "  "
                typer.echo(json.dumps(row) if as_json else f"{found.label}{between}{found.probability:.3f}")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:  # who reads has had enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
