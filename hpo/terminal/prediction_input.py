"""The texts that `hpo predict` is asked about."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from hpo.data.text_stream import STREAM_READERS, LinePipe, check_text, read_lines, read_texts
from hpo.errors import DataError
from hpo.training.model_folder import read_model_info


def choose_input(
    folder: Path, text: str | None, file: Path | None, column: str | None
) -> tuple[Iterable[str], Callable[[], bool]]:
    """What is to be predicted: the one text, or a file's, or those of standard input; and whether more is there yet."""
    if text is not None and file is not None:
        raise DataError("TEXT and --file are both given; leave one out")
    if column is not None and file is None:
        raise DataError("--text names a column of --file, which is not given")
    if text is not None and Path(text).suffix.lower() in STREAM_READERS and os.path.isfile(text):
        raise DataError(f"TEXT is the name of a file; --file {text} reads it")
    recipe = read_model_info(folder)
    if text is not None:
        return [check_text(text, "TEXT")], lambda: True
    if file is not None:
        return read_texts(file, column, recipe.text), lambda: True
    pipe = LinePipe(sys.stdin.fileno())
    if not sys.stdin.isatty():
        return read_lines(pipe, "standard input"), pipe.ready
    typer.echo("reading texts from the terminal, one a line; Ctrl-D ends", err=True)
    return read_lines((line for line in pipe if line.strip()), "standard input"), pipe.ready
