"""The command line: parse, call one function, print. Only this package and hpo/terminal print or exit."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo import __version__
from hpo.cli import (
    baseline,
    compare,
    dashboard,
    doctor,
    export,
    init,
    predict,
    report,
    reproduce,
    retrain,
    run,
    search,
    show,
    stop,
)
from hpo.disk_errors import describe_full_disk, is_disk_full
from hpo.errors import HpoError, TrainingError
from hpo.escaping import escape_controls
from hpo.terminal.output_encoding import escape_unencodable_output

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search hyperparameters of transformer text classifiers, and compare the winner with honest baselines.",
    epilog="Start with: hpo init my-project",
)
# In the order in which a study needs them.
for command in (
    init.init,
    run.run,
    search.search,
    stop.stop,
    retrain.retrain,
    baseline.baseline,
    compare.compare,
    show.show,
    report.report,
    dashboard.dashboard,
    predict.predict,
    export.export,
    reproduce.reproduce,
    doctor.doctor,
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"hpo {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line. An HpoError is printed as one line; the exit code is 2, or 1 for a TrainingError.

    So is a full disk, which any write may meet.
    """
    escape_unencodable_output()
    try:
        app(standalone_mode=True)
    except HpoError as error:
        typer.echo(f"hpo: {escape_controls(str(error))}", err=True)
        raise SystemExit(1 if isinstance(error, TrainingError) else 2) from None
    except Exception as error:
        if not is_disk_full(error):
            raise
        typer.echo(f"hpo: {escape_controls(describe_full_disk(error))}", err=True)
        raise SystemExit(2) from None
