"""The commands of the final room: the winner retrained, baselines, the verdict, and the whole path."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hpo.cli.options import Json, Overrides, Storage, StudyFile, Timeout, Trials, Verbose, Workers, open_study_file
from hpo.cli.search import run_and_print
from hpo.errors import TrainingError
from hpo.terminal.process import interruptible


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
    own = open_study_file(study, set_, storage, verbose)
    from hpo.terminal.progress import RunProgress
    from hpo.terminal.tables import print_retrained

    with interruptible(RunProgress()) as screen:
        best, deployed = own.retrain(seed, listener=screen)
    print_retrained(own.spec, best, deployed, own.command("baseline"))


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
    own = open_study_file(study, set_, storage, verbose)
    from hpo.terminal.progress import RunProgress
    from hpo.terminal.tables import print_baselines, print_next

    with interruptible(RunProgress()) as screen:
        made = own.baselines(*(names or []), listener=screen)
    print_baselines(own.spec, made)
    print_next(own.command("compare"))


def compare(study: StudyFile, storage: Storage = None, set_: Overrides = None, as_json: Json = False) -> None:
    """Compare the winner with every baseline on the test split, and say whether it truly won.

    Example: hpo compare studies/imdb.toml
    """
    own = open_study_file(study, set_, storage)
    from hpo.terminal.comparison_tables import print_comparison
    from hpo.terminal.progress import RunProgress

    with interruptible(RunProgress("comparing")) as screen:
        found = own.compare(listener=screen)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        print_comparison(found)


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
    from hpo.study.overrides import format_overrides

    budget = format_overrides("search", {"trials": trials, "timeout": timeout, "workers": workers})
    own = open_study_file(study, [*(set_ or []), *budget], storage, verbose)
    from hpo.evaluation import retraining
    from hpo.evaluation.baselines import baseline_names, check_baselines, run_baselines
    from hpo.report import write_report
    from hpo.terminal.comparison_tables import print_comparison
    from hpo.terminal.progress import RunProgress
    from hpo.terminal.tables import print_retrained

    wanted = baseline_names(own.spec)
    check_baselines(own.spec, wanted)
    run_and_print(own)
    failed = None
    with interruptible(RunProgress()) as screen, own.final(screen, searched=True) as final:
        best, deployed = retraining.retrain(final)
        try:
            run_baselines(final, wanted)
        except TrainingError as error:  # a verdict over the others is worth more than none
            failed = error
    print_retrained(own.spec, best, deployed)
    with interruptible(RunProgress("comparing")) as screen:
        record = own.record(screen.step, "compare")
        if record.found:
            print_comparison(record.found)
        typer.echo(f"report: {write_report(record, own.spec.folder)}")
    if failed:
        raise failed
