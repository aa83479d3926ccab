"""The commands of the final room: the winner retrained, baselines, the verdict, and the whole path."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hpo.cli.options import Json, Overrides, Storage, StudyFile, Timeout, Trials, Verbose, Workers, opened
from hpo.cli.search import searched
from hpo.errors import TrainingError
from hpo.terminal.session import stoppable


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
    own = opened(study, set_, storage, verbose)
    from hpo.terminal import progress, tables

    with stoppable(progress.RunProgress()) as screen:
        best, deployed = own.retrain(seed, listener=screen)
    tables.print_retrained(own.spec, best, deployed, own.command("baseline"))


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
    own = opened(study, set_, storage, verbose)
    from hpo.terminal import progress, tables

    with stoppable(progress.RunProgress()) as screen:
        made = own.baselines(*(names or []), listener=screen)
    tables.print_baselines(own.spec, made)
    tables.print_next(own.command("compare"))


def compare(study: StudyFile, storage: Storage = None, set_: Overrides = None, as_json: Json = False) -> None:
    """Compare the winner with every baseline on the test split, and say whether it truly won.

    Example: hpo compare studies/imdb.toml
    """
    own = opened(study, set_, storage)
    from hpo.terminal import comparison, progress

    with stoppable(progress.RunProgress("comparing")) as screen:
        found = own.compare(listener=screen)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        comparison.print_comparison(found)


def run(
    study: StudyFile,
    trials: Trials = None,
    timeout: Timeout = None,
    workers: Workers = None,
    storage: Storage = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Go the whole path: search, retrain, baseline, compare, report. What is there already is not made again.

    Example: hpo run studies/quickstart.toml
    """
    from hpo.study.overrides import written

    budget = written("search", {"trials": trials, "timeout": timeout, "workers": workers})
    own = opened(study, [*(set_ or []), *budget], storage, verbose)
    from hpo.final import baselines
    from hpo.final import retrain as fresh
    from hpo.output import report
    from hpo.terminal import comparison, progress, tables

    wanted = baselines.names_of(own.spec)
    baselines.check(own.spec, wanted)
    searched(own)
    failed = None
    with stoppable(progress.RunProgress()) as screen, own.final(screen, searched=True) as final:
        best, deployed = fresh.retrain(final)
        try:
            baselines.baseline(final, wanted)
        except TrainingError as error:  # a verdict over the others is worth more than none
            failed = error
    tables.print_retrained(own.spec, best, deployed)
    with stoppable(progress.RunProgress("comparing")) as screen:
        record = own.record(screen.step, "compare")
        if record.found:
            comparison.print_comparison(record.found)
        typer.echo(f"report: {report.write(record, own.spec.folder)}")
    if failed:
        raise failed
