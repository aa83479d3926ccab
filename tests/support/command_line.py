"""Run the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from hpo.cli import main


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    output: str
    errors: str


@pytest.fixture
def run_hpo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """A function that runs `hpo` with these arguments."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr("sys.argv", ["hpo", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        captured = capsys.readouterr()
        return Ended(int(exit_info.value.code or 0), captured.out, captured.err)

    return run
