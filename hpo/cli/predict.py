"""`hpo predict`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import Overrides, Verbose, configure_output, parse_path


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY|MODEL_DIR",
            help="Study file, or a folder written by hpo retrain or hpo export.",
            parser=parse_path,
        ),
    ],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="One text; else --file, or standard input, one text a line.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="File of texts: csv, tsv, json, jsonl, parquet or txt; by default read as in training.",
            parser=parse_path,
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--text", metavar="COLUMN", help="Text column of the file; by default that of training."),
    ] = None,
    separator: Annotated[
        str | None, typer.Option(metavar="CHARACTER", help="What separates the fields of a csv or tsv file.")
    ] = None,
    quoting: Annotated[
        str | None, typer.Option(metavar="csv|none", help="Whether quotation marks enclose fields of the file.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(metavar="NAME", help="Encoding of the file, such as cp1252.")] = None,
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="The file has column names, or none; then --text is a position."),
    ] = None,
    set_: Overrides = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per text, with all probabilities.")
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Print an empty answer for texts that cannot be classified, and continue."),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Predict the label of texts with the model that hpo retrain or hpo export has saved.

    Example: hpo predict studies/imdb.toml "I would see it again."
    """
    try:
        from hpo.predict import load_predictor, locate_model
        from hpo.terminal.prediction_input import choose_input, parse_read_options

        options = parse_read_options(separator, quoting, encoding, header)
        folder, trusted = locate_model(model, tuple(set_ or []))
        texts, is_ready = choose_input(folder, text, file, column, options, skip_bad)
        configure_output(verbose, optuna=False)
        from hpo.terminal.prediction_output import PredictionPrinter
        from hpo.terminal.progress import PredictionProgress

        printer = PredictionPrinter(as_json, "\t" if text is None else "  ")
        with PredictionProgress(is_single=text is not None) as progress:
            predictor = load_predictor(folder, trusted)
            stream = predictor.stream_each if skip_bad else predictor.stream
            for answer in stream(texts, progress.update, is_ready):
                printer.print_answer(answer)
        printer.print_count()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:  # the reader has closed the pipe, as `| head` does
        # Python flushes standard output at exit, which would raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
