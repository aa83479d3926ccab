"""Choose where `hpo predict` reads its texts: the argument TEXT, --file, or standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import typer

from hpo.data.line_input import LinePipe, read_lines
from hpo.data.readers import READERS, read_texts
from hpo.data.text_validation import check_text
from hpo.errors import DataError
from hpo.training.model_folder import read_model_info


class PredictionInput(NamedTuple):
    """The texts to predict, and whether the next one can be read without waiting."""

    texts: Iterable[str]
    is_ready: Callable[[], bool] = lambda: True


def choose_input(folder: Path, text: str | None, file: Path | None, column: str | None) -> PredictionInput:
    """Return the texts to predict with the model of a folder. Raises DataError for options that do not fit together."""
    if text is not None and file is not None:
        raise DataError("TEXT and --file are both given; leave one out")
    if column is not None and file is None:
        raise DataError("--text names a column of --file, which is not given")
    if text is not None and Path(text).suffix.lower() in READERS and os.path.isfile(text):
        raise DataError(f"TEXT is the name of a file; to read its texts, use --file {text}")
    info = read_model_info(folder)
    if text is not None:
        return PredictionInput([check_text(text, "TEXT")])
    if file is not None:
        return PredictionInput(read_texts(file, column, info.text))
    pipe = LinePipe(sys.stdin.fileno())
    if not sys.stdin.isatty():
        return PredictionInput(read_lines(pipe, "standard input"), pipe.is_ready)
    typer.echo("reading texts from the terminal, one per line; Ctrl-D ends the input", err=True)
    # A person who presses Enter twice should not end the program with the error for an empty text.
    return PredictionInput(read_lines((line for line in pipe if line.strip()), "standard input"), pipe.is_ready)
