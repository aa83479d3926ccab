"""What every command does around its work: quiet libraries, a clean stop, and what to type next."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer

from hpo.errors import mask_passwords

if TYPE_CHECKING:
    from hpo.terminal.progress import LiveLine

Shown = TypeVar("Shown", bound="LiveLine")


@contextmanager
def interruptible(screen: Shown, kept: str = "everything that was finished is saved") -> Iterator[Shown]:
    """Show progress on the screen; Ctrl-C or SIGTERM ends with code 130 and the line that goes on."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end while data load, it ends like Ctrl-C
    with screen:
        try:
            yield screen
        except KeyboardInterrupt:
            screen.stop()
            again = mask_passwords(shlex.join(["hpo", *_continuing(sys.argv[1:])]))
            typer.echo(f"interrupted; {kept}. Go on with: {again}", err=True)
            raise typer.Exit(130) from None


def _continuing(words: list[str]) -> list[str]:
    """The words of a command that goes on: a new study is no longer new."""
    kept: list[str] = []
    for number, word in enumerate(words):
        name = word.removeprefix("--force-new=") if word.startswith("--force-new=") else None
        if number and words[number - 1] == "--force-new":
            name = word
        kept += ["--set", f"name={name}"] if name else [] if word == "--force-new" else [word]
    return kept


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Progress of ours alone: for a while, Optuna tells no trial and transformers draws no bar of its own."""
    import optuna
    from transformers.utils import logging as transformers

    told, drawn = optuna.logging.get_verbosity(), transformers.is_progress_bar_enabled()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    transformers.disable_progress_bar()
    try:
        yield
    finally:
        optuna.logging.set_verbosity(told)
        if drawn:
            transformers.enable_progress_bar()


def silence_libraries(verbose: bool, optuna: bool = True) -> None:
    """Silence what the libraries underneath print and the user cannot act on, before they are imported.

    Optuna has to be imported for it, so a command that may do without leaves it out.
    """
    if verbose:
        return
    import logging
    import warnings

    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if optuna:
        from optuna import logging as optunas

        optunas.set_verbosity(optunas.CRITICAL)
    for name in ("huggingface_hub", "datasets", "transformers", "accelerate", "alembic", "torch"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
