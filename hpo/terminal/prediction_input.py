"""Choose where `hpo predict` reads its texts: the argument TEXT, --file, or standard input."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, cast, get_args

import typer

from hpo.data.line_input import LinePipe, read_each_line, read_lines
from hpo.data.readers import READERS, read_each_text, read_texts
from hpo.data.text_validation import check_text
from hpo.data.trained_reading import GivenOptions, choose_read_options
from hpo.errors import DataError, quote_value, unknown_value
from hpo.study.file_options import Quoting, check_encoding, check_separator
from hpo.training.model_folder import read_model_info


class PredictionInput(NamedTuple):
    """The texts to predict, and whether the next one can be read without waiting."""

    texts: Iterable[str | DataError]
    is_ready: Callable[[], bool] = lambda: True


def parse_read_options(
    separator: str | None, quoting: str | None, encoding: str | None, header: bool | None
) -> GivenOptions:
    """Return the options of the shell that say how a file is read. Raises DataError for a value that has no meaning."""
    if quoting not in (None, *get_args(Quoting)):
        raise DataError(f"--quoting {unknown_value(quoting, get_args(Quoting))}")
    for option, value, check in (("separator", separator, check_separator), ("encoding", encoding, check_encoding)):
        try:
            if value is not None:
                check(value)
        except ValueError as error:
            raise DataError(f"--{option} is {quote_value(value)}; {error}") from None
    separator = check_separator(separator) if separator is not None else None
    return GivenOptions(separator, cast(Quoting | None, quoting), encoding, header)


def choose_input(
    folder: Path,
    text: str | None,
    file: Path | None,
    column: str | None,
    given: GivenOptions | None = None,
    skip_bad: bool = False,
) -> PredictionInput:
    """Return the texts to predict with the model of a folder.

    With `skip_bad`, a text that cannot be classified is replaced by its DataError. Otherwise it is raised. Options that
    do not fit together raise a DataError too.
    """
    if text is not None and file is not None:
        raise DataError("TEXT and --file are both given; leave one out")
    if text is not None and skip_bad:
        raise DataError("--skip-bad is for several texts, of --file or standard input, but TEXT is one; leave it out")
    if column is not None and file is None:
        raise DataError("--text names a column of --file, which is not given")
    given = given or GivenOptions()
    if file is None and given != GivenOptions():
        raise DataError(
            "--separator, --quoting, --encoding, --header and --no-header describe --file, which is not given"
        )
    if text is not None and Path(text).suffix.lower() in READERS and os.path.isfile(text):
        raise DataError(f"TEXT is the name of a file; to read its texts, use --file {shlex.quote(text)}")
    info = read_model_info(folder)
    if text is not None:
        return PredictionInput([check_text(text, "TEXT")])
    if file is not None:
        read_file = read_each_text if skip_bad else read_texts
        options = choose_read_options(file, given, info.read_options)
        return PredictionInput(read_file(file, column, info.text, options))
    pipe = LinePipe(sys.stdin.fileno())
    read = read_each_line if skip_bad else read_lines
    if not sys.stdin.isatty():
        return PredictionInput(read(pipe, "standard input"), pipe.is_ready)
    typer.echo("reading texts from the terminal, one per line; Ctrl-D ends the input", err=True)
    # A person who presses Enter twice should not end the program with the error for an empty text.
    return PredictionInput(read((line for line in pipe if line.strip()), "standard input"), pipe.is_ready)
