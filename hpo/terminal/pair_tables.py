"""The comparison of two systems in the terminal: a table of scores, and what it says."""

from __future__ import annotations

from hpo.pairwise.pair_result import PairResult
from hpo.results.formatting import TextTable, format_p, metric_heading, table_metrics
from hpo.terminal.comparison_tables import print_table
from hpo.terminal.console import print_line


def print_pair(result: PairResult) -> None:
    """Print the scores of both systems, their difference, its scope and the verdict."""
    print_line(f"{result.objective} on {result.rows:,} test rows: {result.test}")
    print_table(_scores_table(result))
    mcnemar = result.difference.mcnemar
    first, second = (system.name for system in result.systems)
    print_line(
        f"only {first} is right in {mcnemar.only_ours:,} rows, only {second} in {mcnemar.only_theirs:,} "
        f"(McNemar's exact test: p {format_p(mcnemar.p)}); p of the difference {format_p(result.difference.p)}, by "
        f"{result.difference.test}"
    )
    for line in [*result.assumptions, result.ledger, result.scope]:
        print_line(line)
    print_line(f"verdict: {result.verdict}", style="bold")


def _scores_table(result: PairResult) -> TextTable:
    """Return a row per system with the common metrics, means over seeds."""
    objective = result.objective
    names = [objective, *(name for name in table_metrics(objective) if name != objective)]
    rows = [
        [system.name, *(f"{system.test[name].mean:.4f}" if name in system.test else "" for name in names)]
        for system in result.systems
    ]
    return TextTable(["", *map(metric_heading, names)], rows)
