"""The shell commands with which a reader of a comparison gets a compared system, and tries it."""

from __future__ import annotations

from shlex import quote

from hpo.evaluation.baselines import BASELINES
from hpo.evaluation.comparison_result import ComparisonResult
from hpo.study.spec_tables import WINNER

EXAMPLE = "'a text'"


def system_commands(comparison: ComparisonResult, system: str) -> list[str]:
    """Return the commands that get a system's model and predict with it; none if it cannot be exported.

    `hpo retrain` has saved the model of the winner, so it needs no command. Baselines of other packages are left out:
    whether they can be exported is not known without importing them.
    """
    if system == WINNER:
        return [f"{_study_command(comparison, 'predict')} {EXAMPLE}"]
    if system not in BASELINES or BASELINES[system].refit is None:
        return []
    folder = quote(system)
    return [
        f"{_study_command(comparison, 'export')} --system {folder} --output {folder}",
        f"hpo predict {folder} {EXAMPLE}",
    ]


def _study_command(comparison: ComparisonResult, verb: str) -> str:
    """Return another command for the study than the one that runs missing baselines."""
    return comparison.baseline_command.replace("hpo baseline ", f"hpo {verb} ", 1)
