"""Options that several commands share, and how they open the study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.errors import HpoError
from hpo.paths import expand_path
from hpo.terminal.process import enable_logging, silence_libraries

if TYPE_CHECKING:
    from hpo.api import Study


def parse_path(text: str) -> Path:
    """Return the path that an argument or option names."""
    if "://" in text:
        # The message does not repeat it, because it may hold a password.
        raise HpoError("a URL was given in place of a path; the URL of a store goes after --storage")
    return expand_path(text)


StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="Study file.", show_default=False, parser=parse_path)]
OptionalStudyFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[STUDY]", help="Study file; by default all studies.", show_default=False, parser=parse_path
    ),
]
Storage = Annotated[
    str | None, typer.Option(metavar="URL", help="Optuna storage URL; by default store.db next to the study file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the study file; may be repeated. Relative paths start at the current folder.",
    ),
]
Trials = Annotated[int | None, typer.Option(min=1, help="Number of finished trials; by default that of the file.")]
Timeout = Annotated[str | None, typer.Option(metavar="TIME", help="Wall time of the search, such as 90s or 2h.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Number of trials to run in parallel.")]
Engine = Annotated[str | None, typer.Option(metavar="NAME", help="Where workers run: inline, processes or ray.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show log messages and library output.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files of the same name that hpo has not written.")
]
NoTexts = Annotated[
    bool, typer.Option("--no-texts", help="Quote no text of the data; the key report.texts = false does the same.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def open_study(file: Path, overrides: list[str] | None, storage: str | None = None, verbose: bool = False) -> Study:
    """Load the study of a command, and set up logging before any heavy library is imported."""
    from hpo.api import Study

    study = Study(file, *(overrides or []), storage=storage)
    configure_output(verbose)
    return study


def without_texts(overrides: list[str] | None, no_texts: bool) -> list[str]:
    """Return the overrides of a command; with `no_texts`, one more that leaves out all texts of the data."""
    from hpo.study.overrides import format_override

    return [*(overrides or []), *([format_override("report.texts", False)] if no_texts else [])]


def budget_overrides(trials: int | None, timeout: str | None, workers: int | None, engine: str | None) -> list[str]:
    """Return the options that bound a search as overrides of the study file's table `search`."""
    from hpo.study.overrides import format_overrides

    return format_overrides("search", {"trials": trials, "timeout": timeout, "workers": workers, "engine": engine})


def configure_output(verbose: bool, optuna: bool = True) -> None:
    """Show log messages, or silence the libraries; see `silence_libraries` for `optuna`."""
    if verbose:
        enable_logging()
    else:
        silence_libraries(optuna)


def find_project_store() -> Path:
    """Return the folder of the project's store: studies/ in the current folder, else the current folder."""
    folder = Path("studies")
    return folder if (folder / "store.db").exists() or not Path("store.db").exists() else Path(".")
