"""Fixtures of tests/support that the tests of results share."""

from tests.support.command_line import run_hpo
from tests.support.evaluated_study import study_file

__all__ = ["run_hpo", "study_file"]
