"""Print one answer per text for `hpo predict`, also for texts that cannot be classified."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import typer

from hpo.errors import DataError
from hpo.escaping import escape_controls
from hpo.predict import Prediction

MAX_REASONS = 5  # texts without an answer of which standard error says why


class PredictionPrinter:
    """Prints answers to standard output, and why there is none to standard error."""

    def __init__(self, as_json: bool, separator: str) -> None:
        self.as_json = as_json
        self.separator = separator
        self.answers = 0
        self.skipped = 0

    def print_answer(self, answer: Prediction | DataError) -> None:
        """Print one line: a label with its probability, or empty fields if the text could not be classified."""
        self.answers += 1
        if isinstance(answer, DataError):
            self.skipped += 1
            if self.skipped <= MAX_REASONS:
                typer.echo(f"no answer: {escape_controls(str(answer))}", err=True)
            # Not an empty line, which readers of tables would leave out: all later answers would move up.
            line = self.separator
            fields: dict[str, Any] = {"label": None, "probability": None, "probabilities": None, "error": str(answer)}
        else:
            line = f"{escape_controls(answer.label)}{self.separator}{answer.probability:.3f}"
            fields = asdict(answer)
        typer.echo(json.dumps(fields) if self.as_json else line)

    def print_count(self) -> None:
        """Say how many texts have no answer, if any."""
        if self.skipped:
            typer.echo(f"{self.skipped:,} of {self.answers:,} texts have no answer", err=True)
