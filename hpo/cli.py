"""The shell: parse, call one function, print; the only place that prints or exits."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from hpo import __version__
from hpo.errors import HpoError, StudyError, TrainingError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search hyperparameters of transformer text classifiers, cheaply, and believe the answer.",
    epilog="Start with: hpo init my-project",
)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.", show_default=False)]
Storage = Annotated[
    str | None, typer.Option(metavar="URL", help="Optuna storage URL; by default store.db beside the study file.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the study file; repeatable.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show what the libraries underneath say.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"hpo {__version__}")
        raise typer.Exit


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write.")] = Path(".")) -> None:
    """Write a starter study and search space, with comments that teach.

    Example: hpo init my-project
    """
    from hpo.study.starter import write

    for path in write(folder):
        typer.echo(f"wrote {path}")
    typer.echo(f"next: hpo search {folder / 'studies' / 'first.toml'}")


@app.command()
def search(
    study: StudyFile,
    trials: Annotated[int | None, typer.Option(min=1, help="Finished trials in all, instead of the file's.")] = None,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="Wall time in all, such as 90s or 2h.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes side by side.")] = None,
    engine: Annotated[str | None, typer.Option(help="inline, processes or ray.")] = None,
    storage: Storage = None,
    set_: Overrides = None,
    force_new: Annotated[
        str | None, typer.Option(metavar="NAME", help="Start another study of that name from this file.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Start the search, or continue it where it stands.

    Example: hpo search studies/imdb.toml --trials 30 --timeout 2h
    """
    options = {"trials": trials, "timeout": timeout, "workers": workers, "engine": engine}
    overrides = [f"search.{key}={_toml(value)}" for key, value in options.items() if value is not None]
    spec = _load(study, (*(set_ or []), *overrides, *([f"name={_toml(force_new)}"] if force_new else [])))
    _quiet(verbose)
    from hpo import terminal
    from hpo.search.engines import search as run
    from hpo.study import store

    url = store.url_of(spec, storage)
    if force_new and store.exists(url) and store.find_study(store.open_storage(url), force_new):
        raise StudyError(f"--force-new {force_new}: there is such a study already; choose another name")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end while data load, it ends like Ctrl-C
    with terminal.Progress(spec) as progress:
        try:
            done = run(spec, url, progress)
        except KeyboardInterrupt:
            progress.stop()
            again = shlex.join(["hpo", *_continuing(sys.argv[1:])])
            typer.echo(f"interrupted; everything that was finished is saved. Go on with: {again}", err=True)
            raise typer.Exit(130) from None
    where = [word for name, value in (("--set", force_new and f"name={force_new}"), ("--storage", storage)) if value
             for word in (name, value)]  # fmt: skip
    terminal.print_outcome(done, spec, shlex.join(["hpo", "show", str(study), *where]))
    if not any(trial.state.name == "COMPLETE" for trial in done.get_trials(deepcopy=False)):
        raise typer.Exit(1)


@app.command()
def show(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY]", help="The study file; without it, every study.")
    ] = None,
    storage: Storage = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show where a study stands, or list every study in the store.

    Example: hpo show studies/imdb.toml
    """
    spec = _load(study, tuple(set_ or [])) if study else None
    _quiet(False)
    from hpo import terminal
    from hpo.output import status
    from hpo.study import store

    url = store.url_of(spec, storage) if spec else storage or store.default_url(_store_folder())
    opened = store.open_storage(url, create=False)
    found: Any
    shown: Callable[[Any], None]
    if spec is None:
        found = status.studies(store.summaries(opened))
        shown = terminal.print_studies
    else:
        stored = store.find_study(opened, spec.name)
        if stored is None:
            raise StudyError(f"no study {spec.name!r} in the store; `hpo search {study}` starts it")
        found = status.study(stored)
        shown = terminal.print_study
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        shown(found)


def main() -> None:
    """Run the shell: HpoError becomes one line on standard error, and exit code 2, or 1 where a run failed."""
    try:
        app(standalone_mode=True)
    except HpoError as error:
        typer.echo(f"hpo: {error}", err=True)
        raise SystemExit(1 if isinstance(error, TrainingError) else 2) from None


def _load(study: Path, overrides: tuple[str, ...]) -> Any:
    from hpo.study.spec import load

    return load(study, overrides)


def _continuing(words: list[str]) -> list[str]:
    """The words of a command that goes on: a new study is no longer new."""
    kept: list[str] = []
    for number, word in enumerate(words):
        name = word.removeprefix("--force-new=") if word.startswith("--force-new=") else None
        if number and words[number - 1] == "--force-new":
            name = word
        kept += ["--set", f"name={name}"] if name else [] if word == "--force-new" else [word]
    return kept


def _store_folder() -> Path:
    """Where the store of a project is looked for: studies/ here, else here."""
    folder = Path("studies")
    return folder if (folder / "store.db").exists() or not Path("store.db").exists() else Path(".")


def _toml(value: object) -> str:
    return json.dumps(value)


def _quiet(verbose: bool) -> None:
    """Silence what the libraries underneath print and the user cannot act on, before they are imported."""
    if verbose:
        return
    import logging
    import warnings

    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    for name in ("huggingface_hub", "datasets", "transformers", "accelerate", "alembic", "torch"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
