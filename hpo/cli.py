"""The shell: parse, call one function, print; the only place that prints or exits."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from hpo import __version__
from hpo.errors import DataError, HpoError, StudyError, TrainingError
from hpo.terminal.session import following, quiet, stoppable

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
    typer.echo(f"next: hpo run {folder / 'studies' / 'first.toml'}")


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
    overrides = _searching(trials=trials, timeout=timeout, workers=workers, engine=engine)
    spec = _load(study, (*(set_ or []), *overrides, *([f"name={_toml(force_new)}"] if force_new else [])))
    quiet(verbose)
    from hpo.search.engines import search as run
    from hpo.study import store
    from hpo.terminal import progress, tables

    url = store.url_of(spec, storage)
    if force_new and store.exists(url) and store.find_study(store.open_storage(url), force_new):
        raise StudyError(f"--force-new {force_new}: there is such a study already; choose another name")
    with stoppable(progress.Progress(spec)) as screen:
        done = run(spec, url, screen)
    tables.print_outcome(done, spec, following("retrain", spec, storage))
    if not any(trial.state.name == "COMPLETE" for trial in done.get_trials(deepcopy=False)):
        raise typer.Exit(1)


@app.command()
def retrain(
    study: StudyFile,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Deploy this seed's model, instead of the best on validation.")
    ] = None,
    storage: Storage = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Train the best trial anew, once per seed, and put the model into the study's folder.

    Example: hpo retrain studies/imdb.toml
    """
    spec = _load(study, tuple(set_ or []))
    quiet(verbose)
    from hpo.final import retrain as fresh
    from hpo.final import runs
    from hpo.study import store
    from hpo.terminal import progress, tables

    with (
        stoppable(progress.RunProgress()) as screen,
        runs.opened(spec, store.url_of(spec, storage), screen, searched=True) as final,
    ):
        best, deployed = fresh.retrain(final, seed)
    tables.print_retrained(spec, best, deployed, following("baseline", spec, storage))


@app.command()
def baseline(
    study: StudyFile,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Baselines; by default those of the study.")
    ] = None,
    storage: Storage = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Make the study's baselines, or those named, on the same rows as the winner.

    Example: hpo baseline studies/imdb.toml tfidf-logreg-tuned recipe
    """
    spec = _load(study, tuple(set_ or []))
    quiet(verbose)
    from hpo.final import baselines, runs
    from hpo.study import store
    from hpo.terminal import progress, tables

    wanted = names or baselines.names_of(spec)
    baselines.check(spec, wanted)
    with (
        stoppable(progress.RunProgress()) as screen,
        runs.opened(spec, store.url_of(spec, storage), screen) as final,
    ):
        baselines.baseline(final, wanted)
    tables.print_next(following("compare", spec, storage))


@app.command()
def compare(study: StudyFile, storage: Storage = None, set_: Overrides = None, as_json: Json = False) -> None:
    """Compare the winner with every baseline on the test split, and say whether it truly won.

    Example: hpo compare studies/imdb.toml
    """
    spec = _load(study, tuple(set_ or []))
    quiet(False)
    from hpo.final.compare import compare as weigh
    from hpo.study import store
    from hpo.terminal import comparison, progress

    with stoppable(progress.RunProgress("comparing")) as screen:
        found = weigh(spec, store.url_of(spec, storage), screen.step)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        comparison.print_comparison(found)


@app.command()
def run(
    study: StudyFile,
    trials: Annotated[int | None, typer.Option(min=1, help="Finished trials in all, instead of the file's.")] = None,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="Wall time of the search in all.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes of the search side by side.")] = None,
    storage: Storage = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Go the whole path: search, retrain, baseline, compare. What is there already is not made again.

    Example: hpo run studies/quickstart.toml
    """
    spec = _load(study, (*(set_ or []), *_searching(trials=trials, timeout=timeout, workers=workers)))
    quiet(verbose)
    from hpo.final import baselines, runs
    from hpo.final import retrain as fresh
    from hpo.final.compare import compare as weigh
    from hpo.search import engines
    from hpo.study import store
    from hpo.terminal import comparison, progress, tables

    baselines.check(spec, baselines.names_of(spec))
    url = store.url_of(spec, storage)
    with stoppable(progress.Progress(spec)) as screen:
        done = engines.search(spec, url, screen)
    tables.print_outcome(done, spec)
    if not any(trial.state.name == "COMPLETE" for trial in done.get_trials(deepcopy=False)):
        raise typer.Exit(1)
    failed = None
    with stoppable(progress.RunProgress()) as listener, runs.opened(spec, url, listener) as final:
        best, deployed = fresh.retrain(final)
        try:
            baselines.baseline(final, baselines.names_of(spec))
        except TrainingError as error:  # a verdict over the others is worth more than none
            failed = error
    tables.print_retrained(spec, best, deployed)
    if final.held_out:
        with stoppable(progress.RunProgress("comparing")) as listener:
            found = weigh(spec, url, listener.step)
        comparison.print_comparison(found)
    if failed:
        raise failed


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
    quiet(False)
    from hpo.output import status
    from hpo.study import store
    from hpo.terminal import tables

    url = store.url_of(spec, storage) if spec else storage or store.default_url(_store_folder())
    opened = store.open_storage(url, create=False)
    found: Any
    shown: Callable[[Any], None]
    if spec is None:
        found = status.studies(store.summaries(opened))
        shown = tables.print_studies
    else:
        stored = store.find_study(opened, spec.name)
        if stored is None:
            raise StudyError(f"no study {spec.name!r} in the store; `hpo search {study}` starts it")
        found = status.study(stored)
        shown = tables.print_study
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        shown(found)


@app.command()
def predict(
    model: Annotated[
        Path, typer.Argument(metavar="STUDY|MODEL_DIR", help="The study file, or a folder that hpo retrain made.")
    ],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="One text; else --file, or standard input, a text a line.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Texts of a csv, tsv, json, jsonl, parquet or txt.")] = None,
    column: Annotated[
        str | None,
        typer.Option("--text", metavar="COLUMN", help="The file's column of texts; by default as in training."),
    ] = None,
    set_: Overrides = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, an object a text, with all probabilities.")
    ] = False,
) -> None:
    """Predict the label of a text, or of many, with the model that hpo retrain made.

    Example: hpo predict studies/imdb.toml "I would see it again."
    """
    try:
        from hpo.output.predict import load, locate

        folder, trusted = locate(model, tuple(set_ or []))
        texts, ready = _texts(folder, text, file, column)
        quiet(False)
        from hpo.terminal import progress

        with progress.Predicting(alone=text is not None) as screen:
            for found in load(folder, trusted).stream(texts, screen.pulse, ready):
                row = {"label": found.label, "probability": found.probability, "probabilities": found.probabilities}
                between = "\t" if text is None else "  "
                typer.echo(json.dumps(row) if as_json else f"{found.label}{between}{found.probability:.3f}")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:  # who reads has had enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


def _texts(
    folder: Path, text: str | None, file: Path | None, column: str | None
) -> tuple[Iterable[str], Callable[[], bool]]:
    """What is to be predicted: the one text, or a file's, or those of standard input; and whether more is there yet."""
    from hpo.data import stream
    from hpo.training.deployed import read_recipe

    if text is not None and file is not None:
        raise DataError("TEXT and --file are both given; leave one out")
    if column is not None and file is None:
        raise DataError("--text names a column of --file, which is not given")
    if text is not None and Path(text).suffix.lower() in stream.STREAMS and os.path.isfile(text):
        raise DataError(f"TEXT is the name of a file; --file {text} reads it")
    recipe = read_recipe(folder)
    if text is not None:
        return [stream.sound(text, "TEXT")], lambda: True
    if file is not None:
        return stream.texts(file, column, recipe.text), lambda: True
    pipe = stream.Pipe(sys.stdin.fileno())
    if not sys.stdin.isatty():
        return stream.lines(pipe, "standard input"), pipe.ready
    typer.echo("reading texts from the terminal, one a line; Ctrl-D ends", err=True)
    return stream.lines((line for line in pipe if line.strip()), "standard input"), pipe.ready


def _searching(**options: object) -> list[str]:
    """Options of the shell as overrides of the study file's [search]."""
    return [f"search.{key}={_toml(value)}" for key, value in options.items() if value is not None]


def _store_folder() -> Path:
    """Where the store of a project is looked for: studies/ here, else here."""
    folder = Path("studies")
    return folder if (folder / "store.db").exists() or not Path("store.db").exists() else Path(".")


def _toml(value: object) -> str:
    return json.dumps(value)
