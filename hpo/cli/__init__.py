"""The shell: parse, call one function, print; beside hpo/terminal the only place that prints or exits."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo import __version__
from hpo.cli import final, look, search, take
from hpo.errors import HpoError, TrainingError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search hyperparameters of transformer text classifiers, cheaply, and believe the answer.",
    epilog="Start with: hpo init my-project",
)
# In the order in which a study meets them.
for command in (
    search.init,
    search.search,
    final.retrain,
    final.baseline,
    final.compare,
    final.run,
    look.show,
    look.report,
    look.dashboard,
    take.predict,
    take.export,
    take.reproduce,
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"hpo {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the shell: HpoError becomes one line on standard error, and exit code 2, or 1 where a run failed."""
    try:
        app(standalone_mode=True)
    except HpoError as error:
        typer.echo(f"hpo: {error}", err=True)
        raise SystemExit(1 if isinstance(error, TrainingError) else 2) from None
