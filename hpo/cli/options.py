"""What the commands have in common: their options, and the study that these name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.terminal.process import silence_libraries

if TYPE_CHECKING:
    from hpo.api import Study

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.", show_default=False)]
MaybeStudy = Annotated[
    Path | None, typer.Argument(metavar="[STUDY]", help="The study file; without it, every study.", show_default=False)
]
Storage = Annotated[
    str | None, typer.Option(metavar="URL", help="Optuna storage URL; by default store.db beside the study file.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the study file; repeatable.")
]
Trials = Annotated[int | None, typer.Option(min=1, help="Finished trials in all, instead of the file's.")]
Timeout = Annotated[str | None, typer.Option(metavar="TIME", help="Wall time of the search in all, such as 90s or 2h.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes of the search side by side.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show what the libraries underneath say.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def open_study_file(file: Path, set_: list[str] | None, storage: str | None = None, verbose: bool = False) -> Study:
    """The study that a command is about; from here on the libraries underneath are quiet."""
    from hpo.api import Study

    study = Study(file, *(set_ or []), storage=storage)
    silence_libraries(verbose)
    return study


def store_folder() -> Path:
    """Where the store of a project is looked for: studies/ here, else here."""
    folder = Path("studies")
    return folder if (folder / "store.db").exists() or not Path("store.db").exists() else Path(".")
