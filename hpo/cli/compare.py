"""`hpo compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import Json, Overrides, Storage, Verbose, configure_output, open_study, parse_path
from hpo.errors import HpoError
from hpo.terminal.process import interruptible

_KINDS = "study file, model folder, or file of predictions"


def compare(
    study: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY|A", help=f"Study file; with B, any {_KINDS}.", show_default=False, parser=parse_path
        ),
    ],
    other: Annotated[
        Path | None,
        typer.Argument(metavar="[B]", help=f"Another {_KINDS}.", show_default=False, parser=parse_path),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Labelled test rows for A and B; by default the test split of the study among them.",
            parser=parse_path,
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(metavar="COLUMN", help="Text column of the file.")] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Label column of the file.")] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="Metric for A and B; by default the study's, or accuracy.")
    ] = None,
    storage: Storage = None,
    set_: Overrides = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compare the winner with every baseline on the test split, or any two systems, A and B.

    Example: hpo compare studies/imdb.toml
    """
    if other is not None:
        _compare_pair(study, other, file, text, label, metric, storage, set_, as_json, verbose)
        return
    if any(option is not None for option in (file, text, label, metric)):
        raise HpoError("--file, --text, --label and --metric are for two systems; name the second one after the first")
    if study.is_dir():
        raise HpoError(f"{study}: is a folder; name a study file, or a second system to compare it with")
    opened = open_study(study, set_, storage, verbose)
    from hpo.terminal.comparison_tables import print_comparison
    from hpo.terminal.progress import RunProgress

    with interruptible(RunProgress("comparing")) as progress:
        result = opened.compare(listener=progress)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        print_comparison(result)


def _compare_pair(
    first: Path,
    second: Path,
    file: Path | None,
    text: str | None,
    label: str | None,
    metric: str | None,
    storage: str | None,
    overrides: list[str] | None,
    as_json: bool,
    verbose: bool,
) -> None:
    configure_output(verbose)
    from hpo.pairwise.operands import parse_operands
    from hpo.pairwise.pair_comparison import PairRequest, compare_pair
    from hpo.terminal.pair_tables import print_pair
    from hpo.terminal.progress import RunProgress

    operands = parse_operands([first, second], overrides or [], storage)
    with interruptible(RunProgress("comparing")) as progress:
        result = compare_pair(PairRequest(*operands, file, text, label, metric), progress.step)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        print_pair(result)
