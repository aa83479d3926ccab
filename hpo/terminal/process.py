"""Set up the process of a command: logging, quiet libraries, and a clean end on Ctrl-C."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer

from hpo.errors import HpoError
from hpo.study.overrides import format_override, mask_override
from hpo.study.storage_url import HIDDEN, StorageUrl

if TYPE_CHECKING:
    from hpo.terminal.progress import LiveLine

_Display = TypeVar("_Display", bound="LiveLine")
_NOISY_LOGGERS = ("huggingface_hub", "datasets", "transformers", "accelerate", "alembic", "torch")


@contextmanager
def interruptible(display: _Display, kept: str = "all finished work is saved") -> Iterator[_Display]:
    """Show a progress display; Ctrl-C and SIGTERM print the command that continues and exit with code 130."""
    # SIGTERM must raise KeyboardInterrupt too: its default action would end the process while data are loaded.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with display:
        try:
            yield display
        except KeyboardInterrupt:
            display.stop()
            command = shlex.join(["hpo", *_continue_arguments(sys.argv[1:])])
            typer.echo(f"interrupted; {kept}. Continue with: {command}", err=True)
            raise typer.Exit(130) from None


def _continue_arguments(arguments: list[str]) -> list[str]:
    """Return the arguments that continue a command, for people: without passwords.

    `--force-new NAME` would refuse the study that it has started.
    """
    continued: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        option, equals, value = argument.partition("=")
        if option not in _REWRITTEN_OPTIONS:
            continued.append(argument)
            continue
        continued += _REWRITTEN_OPTIONS[option](value if equals else next(remaining, ""))
    return continued


def _hide_password(mask: Callable[[str], str], text: str) -> str:
    """Return the text of an option with its password hidden; a text that cannot be read is hidden completely."""
    try:
        return mask(text)
    except HpoError:
        return HIDDEN


_REWRITTEN_OPTIONS: dict[str, Callable[[str], tuple[str, str]]] = {
    "--force-new": lambda name: ("--set", format_override("name", name)),
    "--set": lambda override: ("--set", _hide_password(mask_override, override)),
    "--storage": lambda url: ("--storage", _hide_password(lambda text: StorageUrl.parse(text).text, url)),
}


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Suppress Optuna's message per trial and the progress bars of transformers, for as long as the block runs."""
    import optuna
    from transformers.utils import logging as transformers_logging

    verbosity, has_bars = optuna.logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
        if has_bars:
            transformers_logging.enable_progress_bar()


def enable_logging() -> None:
    """Log hpo's messages from level INFO on to standard error."""
    import logging

    logger = logging.getLogger("hpo")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def silence_libraries(optuna: bool = True) -> None:
    """Silence warnings, log messages and progress bars of the libraries, which the user cannot act on.

    Call it before they are imported: some read the environment variables only then. Optuna has to be imported for it,
    which takes a second, so commands that may do without it pass `optuna=False`.
    """
    import logging
    import warnings

    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if optuna:
        from optuna import logging as optuna_logging

        optuna_logging.set_verbosity(optuna_logging.CRITICAL)
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
